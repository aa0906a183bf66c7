"""Owns under which operating system account PostgreSQL runs; which program is run is left to the caller."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threadline.checkpoints.embedded.errors import EmbeddedServerError
from threadline.checkpoints.embedded.shim import SERVER_ENVIRONMENT

# PostgreSQL's own account where the system has one, else the account that owns nothing.
_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """An account to drop to. Only root needs one: PostgreSQL refuses to run as root."""

    name: str
    uid: int
    gid: int


def find_account() -> Account | None:
    """Return the account that the server has to run as, or None when it runs as the caller.

    Accounts are only looked up, never created. Raises EmbeddedServerError when root finds none.
    """
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        f"PostgreSQL refuses to run as root and this system has no account {' or '.join(_CANDIDATES)}. "
        "Start Threadline as an ordinary user, or set DATABASE_URL."
    )


def run_program(
    command: Sequence[str | Path], account: Account | None, keep_open: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a short program to its end under `account`, away from our terminal, directory and environment.

    The descriptors in `keep_open` stay open in the program. Raises OSError when it cannot be started.
    """
    return subprocess.run(  # noqa: S603 - the callers run PostgreSQL's programs and /bin/sh, never input
        list(command),
        cwd="/",
        env=SERVER_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        start_new_session=True,
        pass_fds=tuple(keep_open),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def can_enter(folder: Path, account: Account | None) -> bool:
    """Say whether `account` may enter `folder`; asked of the kernel, so access lists count too."""
    if account is None:
        return os.access(folder, os.X_OK)
    return run_program(["/bin/sh", "-c", 'cd -- "$0"', folder], account).returncode == 0


def give(folder: Path, account: Account | None) -> None:
    """Make one folder of ours private to the account that the server runs as."""
    folder.chmod(0o700)
    if account is not None:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
