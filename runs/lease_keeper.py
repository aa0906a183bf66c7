"""Owns the renewal of a process's lease, as a program of its own: `python -m threadline.runs.lease_keeper`.

It renews while its parent lives and runs. User code that holds the parent's interpreter cannot hinder it, and a
parent that is stopped (SIGSTOP, a frozen container) does not keep its lease. When the parent's end of the pipe
closes, however the parent died, the lease is given up at once. What goes wrong is a line of text on standard
output, which the parent logs.
"""

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg

from threadline.checkpoints.schema import Schema
from threadline.checkpoints.statements import load_statements

_SQL = load_statements("threadline.runs", "lease.sql")
MAX_LINE = 1000  # characters; a pipe takes what is less than 4,096 bytes whole or not at all
_STOPPED_STATES = "TtZX"  # stopped, traced, zombie, dead: proc_pid_stat(5), ps(1)


@dataclass(frozen=True, slots=True)
class Orders:
    """What the parent says on the first line: where the tables are, who the parent is, and durations in seconds."""

    conninfo: str
    schema: str
    prepare: bool
    process_id: str
    name: str
    host: str | None
    pid: int
    birth: str | None
    lease: float
    renew: float

    @property
    def registration(self) -> dict[str, Any]:
        """What the statement `renew` is given."""
        who = {name: getattr(self, name) for name in ("process_id", "name", "host", "pid", "birth")}
        return {**who, "lease": timedelta(seconds=self.lease), "quiet": timedelta(seconds=2 * self.renew)}


def is_stopped(pid: int) -> bool:
    """Whether the process exists but does not run."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if Path("/proc/self/stat").exists():
            return stat.read_text("ascii", "replace").rpartition(")")[2].split()[0] in _STOPPED_STATES
        command = ["/bin/ps", "-o", "state=", "-p", str(pid)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed program
        return answer.stdout.strip()[:1] in _STOPPED_STATES
    except (FileNotFoundError, ProcessLookupError, IndexError):  # it may end between the opening and the reading
        return True


class Keeper:
    """Renews over one connection, which it reopens as long as the parent lives."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._schema = Schema(orders.schema)
        self._connection: psycopg.Connection[Any] | None = None

    def renew(self) -> None:
        self._execute("renew", self._orders.registration)

    def expire(self) -> None:
        self._execute("expire", {"process_id": self._orders.process_id, "channel": self._schema.channel})

    def _execute(self, name: str, parameters: dict[str, Any]) -> None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    self._orders.conninfo,
                    autocommit=True,
                    prepare_threshold=1 if self._orders.prepare else None,
                    connect_timeout=2,
                    application_name="threadline/lease",
                    tcp_user_timeout=2000,
                )
            self._connection.execute(self._schema.qualify(_SQL[name]), parameters)
        except psycopg.Error as error:
            # The next tick tries again; if the lease lapses meanwhile, that is what a lease is for.
            _tell(str(error))
            if self._connection is not None:
                self._connection.close()


def _tell(text: str) -> None:
    """Say it in one line, unless nobody listens: a parent that is busy, or dead, must not hold up the renewal."""
    line = " ".join(text.split())[:MAX_LINE]
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(sys.stdout.fileno(), line.encode() + b"\n")


def main() -> None:
    """Keep the lease until standard input ends."""
    # A Ctrl-C in the terminal reaches the whole group; the parent decides when the lease ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.set_blocking(sys.stdout.fileno(), False)
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent ended before it had said anything
    orders = Orders(**orjson.loads(line))
    keeper = Keeper(orders)
    due = time.monotonic()
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))
        if readable and not os.read(sys.stdin.fileno(), 1024):
            keeper.expire()
            return
        if time.monotonic() >= due:
            due = time.monotonic() + orders.renew
            if not is_stopped(orders.pid):
                keeper.renew()


if __name__ == "__main__":
    main()
