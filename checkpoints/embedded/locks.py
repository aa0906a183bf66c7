"""Owns who may run the server of a data directory; starting and stopping it is left to `server`.

Two locks on files, both kept by open descriptors and so released by the kernel however their holders end:

- `pg.lock` is inherited by PostgreSQL and all its processes: held means "a server, or initdb, is alive".
- `owner.lock` is held by the owner while it prepares, then by the shim while the owner is connected to it:
  held means "the server has a live owner".

So `pg.lock` held and `owner.lock` free is a server on its way down, for which a new owner waits.
"""

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from threadline.checkpoints.embedded.errors import DataDirectoryInUse, EmbeddedServerError
from threadline.checkpoints.embedded.sockets import find_listener

# Long enough for the shim of an owner killed just now to notice it, short enough for a person to wait.
_GRACE = timedelta(seconds=0.5)
_TICK_SECONDS = 0.02


@dataclass(frozen=True)
class Record:
    """What the owner tells others; true only while `owner.lock` is held. `dsn` is set once the server is ready."""

    owner_pid: int
    socket_dir: str | None = None
    dsn: str | None = None


@dataclass(frozen=True)
class Ownership:
    """Both locks of a data directory, held; `server_lock` is for PostgreSQL to inherit."""

    server_lock: int
    owner_lock: int


@contextmanager
def own(data_dir: Path, patience: timedelta, abandoned: threading.Event) -> Iterator[Ownership]:
    """Take both locks of `data_dir`; at exit give up our descriptors, not those that were inherited meanwhile.

    Waits up to `patience` for a server whose owner is gone, and ends it if nobody else does.
    Raises DataDirectoryInUse when it has a live owner or does not end in time.
    """
    with _opened(data_dir / "pg.lock") as server_lock, _opened(data_dir / "owner.lock") as owner_lock:
        _wait_for_server_lock(data_dir, server_lock, patience, abandoned)
        # Only the short look of `read_live_record` can be in the way here.
        fcntl.flock(owner_lock, fcntl.LOCK_EX)
        write_record(data_dir, Record(os.getpid()))
        yield Ownership(server_lock, owner_lock)


def write_record(data_dir: Path, record: Record) -> None:
    """Replace the record in one step; only an owner may."""
    unfinished = data_dir / "server.json.new"
    unfinished.write_text(json.dumps(asdict(record)), "utf-8")
    unfinished.replace(data_dir / "server.json")


def read_live_record(data_dir: Path) -> Record | None:
    """Return what the live owner of `data_dir` recorded, or None if it has no live owner."""
    try:
        with _opened(data_dir / "owner.lock", create=False) as owner_lock:
            if _try_lock(owner_lock, fcntl.LOCK_SH):
                return None
        return _read_record(data_dir)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise EmbeddedServerError(f"{data_dir} belongs to another account: {error}") from error


def _wait_for_server_lock(data_dir: Path, server_lock: int, patience: timedelta, abandoned: threading.Event) -> None:
    started = time.monotonic()
    while not _try_lock(server_lock, fcntl.LOCK_EX):
        waited = timedelta(seconds=time.monotonic() - started)
        owner = read_live_record(data_dir)
        if owner is None:
            _end_ownerless_server(data_dir)
        elif waited > _GRACE and _exists(owner.owner_pid):
            raise DataDirectoryInUse(_in_use(data_dir, f"process {owner.owner_pid}"))
        if waited > patience:
            whom = f"process {owner.owner_pid}, not visible from here" if owner else "a server without an owner"
            raise DataDirectoryInUse(_in_use(data_dir, f"{whom}, waited for {patience.total_seconds():g} s"))
        if abandoned.wait(_TICK_SECONDS):
            raise EmbeddedServerError(f"The start of the server in {data_dir} was abandoned.")


def _in_use(data_dir: Path, by: str) -> str:
    return (
        f"The data directory {data_dir} is in use by {by}. Stop that first, connect to its server instead, "
        "or choose another data directory."
    )


def _end_ownerless_server(data_dir: Path) -> None:
    """Ask a server whose shim was killed too to shut down; one that is doing so already is not disturbed."""
    record = _read_record(data_dir)
    if record is None or record.socket_dir is None:
        return
    pid = find_listener(Path(record.socket_dir))
    if pid is not None:
        with suppress(ProcessLookupError):  # it ended at this moment
            os.kill(pid, signal.SIGINT)


def _read_record(data_dir: Path) -> Record | None:
    try:
        return Record(**json.loads((data_dir / "server.json").read_text("utf-8")))
    except FileNotFoundError:
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(path: Path, *, create: bool = True) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
