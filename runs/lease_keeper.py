"""Owns the renewal of a process's lease, as a program of its own: `python -m threadline.runs.lease_keeper`.

It renews while its parent lives and runs. User code that holds the parent's interpreter cannot hinder it, and a
parent that is stopped (SIGSTOP, a frozen container) does not keep its lease. When the parent's end of the pipe
closes, however the parent died, the lease is given up at once. What goes wrong is a line of text on standard
output, which the parent logs.
"""

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

RELEASED = b"released\n"  # what the parent says when it ends in order and gives its lease up itself
MAX_LINE = 1000  # characters; a pipe takes what is less than 4,096 bytes whole or not at all
_STOPPED_STATES = "TtZX"  # stopped, traced, zombie, dead: proc_pid_stat(5), ps(1)


class Orders(NamedTuple):
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
    first: float  # until the first renewal: the parent has only just taken the lease itself


def is_stopped(pid: int) -> bool:
    """Whether the process exists but does not run."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if Path("/proc/self/stat").exists():
            return stat.read_text("ascii", "replace").rpartition(")")[2].split()[0] in _STOPPED_STATES
        import subprocess

        command = ["/bin/ps", "-o", "state=", "-p", str(pid)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed program
        return answer.stdout.strip()[:1] in _STOPPED_STATES
    except (FileNotFoundError, ProcessLookupError, IndexError):  # it may end between the opening and the reading
        return True


def main() -> None:
    """Keep the lease until standard input ends, or says that the parent gives it up itself."""
    # A Ctrl-C in the terminal reaches the whole group; the parent decides when the lease ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.set_blocking(sys.stdout.fileno(), False)
    # Unbuffered: what the parent may have said already behind its first line is for `_hear`.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as said_first:
        line = said_first.readline()
    if not line:
        return  # the parent ended before it had said anything
    orders = Orders(**json.loads(line))
    said = _hear(orders.first)
    if said == RELEASED:
        return
    # Not before: a driver is most of what a keeper costs, and many a process ends within its first second.
    from threadline.runs.lease_renewal import Renewal

    renewal = Renewal(orders, _tell)
    while said is None:
        due = time.monotonic() + orders.renew
        if not is_stopped(orders.pid):
            renewal.renew()
        said = _hear(due - time.monotonic())
    if said != RELEASED:
        renewal.expire()


def _hear(seconds: float) -> bytes | None:
    """Return what the parent says within that time; nothing (b"") is what it says when it dies."""
    readable, _, _ = select.select([sys.stdin], [], [], max(0.0, seconds))
    return os.read(sys.stdin.fileno(), 1024) if readable else None


def _tell(text: str) -> None:
    """Say it in one line, unless nobody listens: a parent that is busy, or dead, must not hold up the renewal."""
    line = " ".join(text.split())[:MAX_LINE]
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(sys.stdout.fileno(), line.encode() + b"\n")


if __name__ == "__main__":
    main()
