"""Owns telling whether a process of this machine is still there; what follows from that is up to the takeover.

A number alone proves nothing, as numbers are given again, and mean something else in each container. So a process is
known by its host (one start of one kernel, one namespace of numbers), its number, and the time it was born.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_ENDED_STATES = "ZX"  # a zombie is only still on the list: proc_pid_stat(5)
_STATE, _START_TIME = 0, 19  # fields of /proc/PID/stat, counted behind the name of the program


@dataclass(frozen=True, slots=True)
class Identity:
    """A process as others on its host can recognise it; `host` and `birth` are None where the system does not tell."""

    host: str | None
    pid: int
    birth: str | None


def identify() -> Identity:
    """Return who this process is."""
    pid = os.getpid()
    return Identity(_find_host(), pid, _read_birth(pid))


def is_gone(pid: int, birth: str | None) -> bool:
    """Tell whether the process of this host has ended. One that cannot be looked at is taken to be there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # somebody else's, and there
    fields = _read_fields(pid)
    if fields is None:
        return False
    return fields[_STATE] in _ENDED_STATES or (birth is not None and fields[_START_TIME] != birth)


def _find_host() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        numbers = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return None
    # The name is for copies of a running machine, which have everything else in common.
    return f"{socket.gethostname()} {boot} {numbers}"


def _read_birth(pid: int) -> str | None:
    fields = _read_fields(pid)
    return fields[_START_TIME] if fields is not None else None


def _read_fields(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None


def process_name() -> str:
    """Return what people call this process."""
    return f"{socket.gethostname()}/{os.getpid()}"
