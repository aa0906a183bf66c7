"""Owns where the server's unix socket lies and who listens on it; what is said over it is left to its users."""

import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path

from threadline.checkpoints.embedded.account import Account, can_enter, give
from threadline.checkpoints.embedded.errors import EmbeddedServerError

PORT = 5432

_SOCKET_NAME = f".s.PGSQL.{PORT}"
# macOS has room for 103 bytes and an end mark, Linux for 107.
_LONGEST_ADDRESS = 103


def make_socket_dir(data_dir: Path, account: Account | None) -> Path:
    """Return a folder for the socket that only `account` and root can enter, made if need be.

    It lies in the data directory if its path is short enough for a socket address, else among the temporary files
    under a name made from that path. Call it with `pg.lock` held: what a killed server left in it is removed.
    Raises EmbeddedServerError if no place will do.
    """
    name = f"threadline-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
    places = [data_dir / "run", Path(tempfile.gettempdir()) / name, Path("/var/tmp") / name]  # noqa: S108 - name is checked for its owner
    for place in places:
        if _is_addressable(place) and can_enter(place.parent, account):
            _make_private(place, account)
            # Left by a server that was killed; PostgreSQL would trust the process number in the second one.
            for left in (place / _SOCKET_NAME, place / f"{_SOCKET_NAME}.lock"):
                left.unlink(missing_ok=True)
            return place
    raise EmbeddedServerError(
        "No folder is fit for the server's socket (short path, no comma, open to the server's account); "
        f"tried {', '.join(str(place) for place in places)}. Use a shorter data directory."
    )


def find_listener(socket_dir: Path, port: int = PORT) -> int | None:
    """Return the id of the process that listens on the socket in `socket_dir`, or None if nobody does.

    The kernel says it, so unlike a recorded id it is never that of an unrelated process.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(os.fspath(socket_dir / f".s.PGSQL.{port}"))
            return _peer_pid(client) or None
        except OSError:
            return None  # no listener, or one that is going away: the same answer


def _peer_pid(client: socket.socket) -> int:
    if sys.platform == "darwin":
        sol_local, local_peerpid = 0, 2
        return client.getsockopt(sol_local, local_peerpid)
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _is_addressable(folder: Path) -> bool:
    # A comma separates hosts in a connection string.
    return len(os.fsencode(folder / _SOCKET_NAME)) <= _LONGEST_ADDRESS and "," not in str(folder)


def _make_private(folder: Path, account: Account | None) -> None:
    """Make `folder` ours alone, and refuse one that somebody else put there."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    ours = {os.geteuid()} | ({account.uid} if account else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
        raise EmbeddedServerError(f"{folder} is needed for the server's socket but belongs to somebody else.")
    give(folder, account)
