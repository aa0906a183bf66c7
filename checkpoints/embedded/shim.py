"""Owns one PostgreSQL process from its start to its end; what to start, and where, is decided by the parent.

Run by file path as a program of its own, so it imports the standard library only. It outlives its parent just
long enough to shut PostgreSQL down, whatever way the parent ended.

usage: shim.py LINK OWNER_LOCK OWNER_PID UID GID SOCKET_DIR COMMAND...

LINK is our end of a socket pair with the parent, who says "stop" by writing to it or by being gone; we say "ended"
by closing it. OWNER_LOCK holds the lock that means "this server has a live
owner"; both are descriptors that PostgreSQL must not inherit. Any other inherited descriptor goes on to it, which
is how the lock on the data directory lasts exactly as long as a PostgreSQL process does. UID -1 means: do not drop.
SOCKET_DIR is removed at the end, because it may lie among the system's temporary files.
"""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence

# Nothing from our environment may change how the server or its locale behaves.
SERVER_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

# A child that the parent forked can hold the parent's end of the link, so its pid is looked at as well.
_OWNER_CHECK_MS = 1_000
# Fast shutdown; then without a checkpoint (recovery at the next start); then the end. Milliseconds after each.
_ESCALATION = ((signal.SIGINT, 30_000), (signal.SIGQUIT, 10_000), (signal.SIGKILL, 10_000))
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Shim:
    """Watches the parent and PostgreSQL; ends the second when the first is gone."""

    def __init__(self, link: int, owner_lock: int, owner_pid: int, command: list[str]) -> None:
        for descriptor in (link, owner_lock):
            os.set_inheritable(descriptor, False)
        self._link = link
        self._owner_lock = owner_lock
        self._owner_pid = owner_pid
        self._signals = _collect_signals()
        self._server = os.posix_spawn(command[0], command, SERVER_ENVIRONMENT)

    def supervise(self) -> int:
        """Return PostgreSQL's exit code (128 plus the number of a deadly signal) once it has ended."""
        while (code := self._exit_code()) is None:
            if self._must_stop(_wait_for([self._link, self._signals], _OWNER_CHECK_MS)):
                return self._shut_down()
        return code

    def _must_stop(self, readable: Sequence[int]) -> bool:
        told = self._signals in readable and any(number in _STOP_SIGNALS for number in os.read(self._signals, 64))
        return told or self._link in readable or os.getppid() != self._owner_pid

    def _shut_down(self) -> int:
        # From here on nobody owns the server: a new owner waits for its end instead of giving up.
        os.close(self._owner_lock)
        for number, patience in _ESCALATION:
            os.kill(self._server, number)
            while (code := self._exit_code()) is None:
                if not _wait_for([self._signals], patience):
                    break
                os.read(self._signals, 64)
            if code is not None:
                return code
        return 128 + signal.SIGKILL

    def _exit_code(self) -> int | None:
        pid, status = os.waitpid(self._server, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def _wait_for(descriptors: Sequence[int], timeout_ms: int) -> list[int]:
    """Return the descriptors that became readable or were closed by the other side."""
    poll = select.poll()  # select() cannot take the high numbers that a busy parent hands down
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(timeout_ms)]


def _collect_signals() -> int:
    """Turn the signals we care about into bytes of a pipe, so that one select waits for everything."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *_STOP_SIGNALS):
        signal.signal(number, lambda *_: None)
    return reader


def _drop_to(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> int:
    """Run the program described at the top of this module."""
    link, owner_lock, owner_pid, uid, gid = (int(argument) for argument in arguments[:5])
    if uid != -1:
        _drop_to(uid, gid)
    code = Shim(link, owner_lock, owner_pid, arguments[6:]).supervise()
    with contextlib.suppress(OSError):  # a server that crashed leaves its socket; the next start clears it
        os.rmdir(arguments[5])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
