"""Owns the files of a database cluster and reads the server's pid file; the process is left to `postmaster`."""

import os
import shutil
import sys
from pathlib import Path

from threadline.checkpoints.embedded.account import Account, give, run_program
from threadline.checkpoints.embedded.binaries import Binaries
from threadline.checkpoints.embedded.directory import Layout, open_passage
from threadline.checkpoints.embedded.errors import DataDirectoryInUse, ServerStartFailed
from threadline.checkpoints.embedded.sockets import find_listener

SUPERUSER = "threadline"

# Line numbers of postmaster.pid, from 0 (miscadmin.h of PostgreSQL).
_PID, _PORT, _SOCKET_DIR, _STATUS = 0, 3, 4, 7


def create_cluster(
    layout: Layout, binaries: Binaries, account: Account | None, server_lock: int, *, durable: bool
) -> None:
    """Run initdb unless the cluster is there; it appears in one step, whole or not at all.

    initdb inherits `server_lock`, so that one whose parent was killed is waited for. Raises ServerStartFailed.
    """
    if layout.cluster.exists():
        return
    unfinished = layout.unfinished_cluster
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    give(unfinished, account)
    with open_passage(unfinished, account) as passage:
        command = _initdb_command(binaries, passage.path, durable=durable)
        answer = run_program(command, account, keep_open=[server_lock, *passage.descriptors])
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip()
        raise ServerStartFailed(f"{binaries.initdb} could not create a cluster in {unfinished}:\n{said}")
    unfinished.rename(layout.cluster)
    if durable:
        _sync_folder(layout.folder)


def _initdb_command(binaries: Binaries, cluster: Path, *, durable: bool) -> list[str | Path]:
    return [
        binaries.initdb,
        f"--pgdata={cluster}",
        f"--username={SUPERUSER}",
        "--encoding=UTF8",
        *_locale(binaries.version.major),
        # The socket lies in a folder that only the server's account and root can enter.
        "--auth-local=trust",
        "--auth-host=reject",
        "--no-instructions",
        *([] if durable else ["--no-sync"]),
    ]


def clear_stale_pid_file(cluster: Path) -> None:
    """Remove a pid file left by a server that was killed; its number may be another program's by now.

    Call it with `pg.lock` held: then no server of ours is alive. Raises DataDirectoryInUse if one that we did not
    start answers in the place that the file names.
    """
    lines = _read_pid_file(cluster)
    if len(lines) > _SOCKET_DIR and lines[_SOCKET_DIR]:
        pid = find_listener(Path(lines[_SOCKET_DIR]), int(lines[_PORT]))
        if pid is not None and str(pid) == lines[_PID]:
            raise DataDirectoryInUse(
                f"{cluster} is served by a PostgreSQL (process {pid}) that was not started by Threadline. "
                "Stop it first, or set DATABASE_URL to it."
            )
    # PostgreSQL still refuses a cluster whose shared memory is attached somewhere.
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def is_ready(cluster: Path) -> bool:
    """Say whether the server accepts connections, as it writes into its pid file itself."""
    lines = _read_pid_file(cluster)
    return len(lines) > _STATUS and lines[_STATUS] == "ready"


def _locale(major: int) -> list[str]:
    if major >= 17:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    if sys.platform == "darwin":
        return ["--locale=C", "--lc-ctype=UTF-8"]  # macOS knows C.UTF-8 under this name only
    return ["--locale=C.UTF-8"]


def _read_pid_file(cluster: Path) -> list[str]:
    try:
        text = (cluster / "postmaster.pid").read_text("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines()]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
