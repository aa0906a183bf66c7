"""Owns one life of the server process, seen from its parent; the other side is `shim.py`, a program of its own."""

import asyncio
import os
import select
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path

from threadline.checkpoints.embedded import shim
from threadline.checkpoints.embedded.account import Account
from threadline.checkpoints.embedded.binaries import Binaries
from threadline.checkpoints.embedded.cluster import is_ready
from threadline.checkpoints.embedded.directory import Layout, open_passage
from threadline.checkpoints.embedded.errors import EmbeddedServerError, ServerStartFailed
from threadline.checkpoints.embedded.locks import Ownership
from threadline.checkpoints.embedded.sockets import PORT

_DEFAULTS: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Else each error comes with its statement, of up to 4 MB, at each retry: no way to treat a disk that is full.
    "log_min_error_statement": "panic",
    "cluster_name": "threadline",
}
# Where the server can be reached is what keeps it private and findable.
RESERVED_OPTIONS = frozenset(
    {"data_directory", "hba_file", "listen_addresses", "port"}
    | {"unix_socket_directories", "unix_socket_group", "unix_socket_permissions"}
)

_TICK_MS = 10
_LOG_TAIL_LINES = 20
# The shim gives up after 50 s (its escalation), whatever PostgreSQL does.
_STOP_PATIENCE_MS = 60_000


class ExitReason(Enum):
    """Why a server ended."""

    STOPPED = "stopped"  # its owner asked for it
    DIED = "died"  # anything else: a crash, a signal from outside


@dataclass(frozen=True)
class ServerExit:
    """How a server ended; `code` is 128 plus the number of a deadly signal."""

    reason: ExitReason
    code: int


class Postmaster:
    """A started server process, held through its shim; it is shut down when this object or this process ends."""

    def __init__(self, program: subprocess.Popen[bytes], link: int, layout: Layout) -> None:
        self._shim = program
        self._link = link
        weakref.finalize(self, os.close, link)
        self._layout = layout
        self._reaping = threading.Lock()
        self._reason = ExitReason.DIED

    def wait_ready(self, patience: timedelta, abandoned: threading.Event) -> None:
        """Return once the server accepts connections; if it does not, stop it and raise."""
        deadline = time.monotonic() + patience.total_seconds()
        while not is_ready(self._layout.cluster):
            if self._has_exited(_TICK_MS):
                raise self._start_failure(f"ended with code {self._reap().code}")
            if abandoned.is_set():
                self.stop()
                raise EmbeddedServerError(f"The start of the server in {self._layout.cluster} was abandoned.")
            if time.monotonic() > deadline:
                self.stop()
                raise self._start_failure(f"was not ready after {patience.total_seconds():g} s")

    def stop(self) -> ServerExit:
        """Shut the server down (fast: clients are cut, nothing is lost); leave one that has ended as it is.

        Raises EmbeddedServerError when it does not end in a minute.
        """
        if not self._has_exited(0):
            self._reason = ExitReason.STOPPED
            with suppress(BrokenPipeError):  # it ended at this moment
                os.write(self._link, b"stop")
        if not self._has_exited(_STOP_PATIENCE_MS):
            raise EmbeddedServerError(f"The server in {self._layout.cluster} cannot be stopped.")
        return self._reap()

    async def wait_exited(self) -> ServerExit:
        """Wait until the server has ended, of itself or by `stop`."""
        loop = asyncio.get_running_loop()
        exited = asyncio.Event()
        # A descriptor of its own for each waiter: a loop watches each number once only.
        link = os.dup(self._link)
        loop.add_reader(link, exited.set)
        try:
            await exited.wait()
        finally:
            loop.remove_reader(link)
            os.close(link)
        return self._reap()

    def _has_exited(self, timeout_ms: int) -> bool:
        """Wait for the shim's end of the link to close: it never sends anything."""
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        return bool(poll.poll(timeout_ms))

    def _reap(self) -> ServerExit:
        with self._reaping:
            return ServerExit(self._reason, self._shim.wait())

    def _start_failure(self, how: str) -> ServerStartFailed:
        lines = self._layout.log.read_text("utf-8", errors="replace").splitlines()
        tail = "\n".join(lines[-_LOG_TAIL_LINES:])
        return ServerStartFailed(f"PostgreSQL in {self._layout.cluster} {how}. End of {self._layout.log}:\n{tail}")


def launch(
    binaries: Binaries,
    layout: Layout,
    socket_dir: Path,
    options: Mapping[str, str],
    account: Account | None,
    ownership: Ownership,
) -> Postmaster:
    """Start the server process under a shim, which takes over both locks; it is not ready yet."""
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    if layout.log.exists():
        layout.log.replace(layout.log.with_suffix(".log.1"))
    ours, theirs = socket.socketpair()
    descriptors = (theirs.fileno(), ownership.owner_lock)
    numbers = [str(number) for number in (*descriptors, os.getpid(), uid, gid)] + [str(socket_dir)]
    with theirs, layout.log.open("wb") as log, open_passage(layout.cluster, account) as cluster:
        command = _server_command(binaries, cluster.path, socket_dir, options)
        program = subprocess.Popen(  # noqa: S603 - our own interpreter, our own file, the server found above
            [sys.executable, "-I", "-S", shim.__file__, *numbers, *command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(*descriptors, ownership.server_lock, *cluster.descriptors),
            start_new_session=True,
        )
    return Postmaster(program, ours.detach(), layout)


def _server_command(binaries: Binaries, cluster: Path, socket_dir: Path, options: Mapping[str, str]) -> Sequence[str]:
    quoted_dir = '"' + str(socket_dir).replace('"', '""') + '"'
    settings = {
        **_DEFAULTS,
        **options,
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": quoted_dir,
        "unix_socket_permissions": "0700",
    }
    assignments = [f"--{name}={value}" for name, value in settings.items()]
    return [str(binaries.postgres), "-D", str(cluster), *assignments]
