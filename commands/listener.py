"""Owns the one socket that clients connect to: where it listens, and who is in its place if it cannot."""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

from threadline.commands.exits import CommandFailed

# The kernel keeps as many clients waiting while a child is being replaced.
BACKLOG = 2048
ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound to unless the user says so
_LISTENING = "0A"  # a socket's state in /proc/net/tcp


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port`; port 0 takes a free one. Raises CommandFailed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # Names such as `localhost` have two addresses; the one that every client tries is enough.
        family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return socket.create_server(
            address[:2],
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise CommandFailed(_refusal(host, port, error)) from error


def url_of(listener: socket.socket) -> str:
    """Return the address at which a client on this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    if host in ALL_ADDRESSES:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = _find_holder(port)
        by = f" by {holder}" if holder else ""
        return f"{host}:{port} is already in use{by}. Stop that, or choose another port with --port (0: a free one)."
    if error.errno == errno.EACCES:
        return f"{host}:{port} may not be listened on by this account. Choose another port with --port."
    return f"{host}:{port} cannot be listened on: {error.strerror or error}. Choose another address with --host."


def _find_holder(port: int) -> str | None:
    """Return which process listens on the port, if this system says so and it is one that we may look at."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        with suppress(OSError):
            if any(os.readlink(link) in sockets for link in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                return f"process {process.name} ({command[:100]})"
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes
