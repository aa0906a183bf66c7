"""Owns the PostgreSQL of a sitting: started for it alone, killed and restarted, and started again when it dies."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from threadline.checkpoints.embedded import EmbeddedServer, ExitReason, start_server
from threadline.tests.checkpoints.embedded.owners import find_postmaster
from threadline.tests.laboratory.locks import until

DISK = "2g"
# Little log, so that what is on a small disk is data; many connections, because those that are cut linger.
OPTIONS = {"max_connections": "300", "max_wal_size": "128MB", "min_wal_size": "80MB"}

_OTHERS = "select pid from pg_stat_activity where application_name like 'threadline/%'"
_AT_WORK = """
    select r.run_id::text, r.attempt from runs r join processes p using (process_id)
    where r.status = 'running' and p.pid = any(%s)
"""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Have a file system of its own for the length of the block; None where this account cannot mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    try:
        yield disk if done else None
    finally:
        if done:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


class LabDatabase:
    """One server. `outages` are when it did not answer, from and to, in seconds since the epoch."""

    def __init__(self, server: EmbeddedServer, disk: Path | None) -> None:
        self.dsn = server.dsn
        self.disk = disk
        self.outages: list[tuple[float, float]] = []
        self._server = server
        self._changing = asyncio.Lock()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        parts = conninfo_to_dict(self.dsn)
        return Path(str(parts["host"])) / f".s.PGSQL.{parts['port']}"

    def conninfo_through(self, port: int) -> str:
        """The address for a process that is to come by a relay."""
        plain: dict[str, Any] = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
        return make_conninfo(self.dsn, **plain)

    async def rows(self, statement: str, *parameters: Any) -> list[Any]:
        """Ask it, directly."""
        async with await AsyncConnection.connect(self.dsn, autocommit=True, connect_timeout=5) as connection:
            cursor = await connection.execute(statement.encode(), parameters or None)
            return await cursor.fetchall() if cursor.description is not None else []

    async def runs_of(self, pids: list[int]) -> dict[str, int]:
        """The runs that these processes execute, with their attempts; none if it cannot be asked."""
        try:
            return dict(await self.rows(_AT_WORK, pids))
        except psycopg.Error:
            return {}

    async def kill(self) -> None:
        """End it as a crash does; `keep` starts it again."""
        with suppress(OSError, ValueError, IndexError, ProcessLookupError):
            os.kill(find_postmaster(self._server.data_dir), signal.SIGKILL)

    async def restart(self) -> None:
        """Stop it in order, and start it again."""
        began = time.time()
        async with self._changing:
            await asyncio.to_thread(self._server.restart)
        self.outages.append((began, time.time()))

    async def terminate(self, moments: random.Random, share: float) -> int:
        """End that share of the connections from within; returns how many."""
        pids = [pid for (pid,) in await self.rows(_OTHERS) if moments.random() < share]
        await self.rows("select pg_terminate_backend(pid) from unnest(%s::integer[]) as t (pid)", pids)
        return len(pids)

    async def fill_disk(self, seconds: float) -> None:
        """Take all the room that is left on the small disk, for so long."""
        assert self.disk is not None
        filler = self.disk / "filler"
        await asyncio.to_thread(_fill, filler)
        try:
            await asyncio.sleep(seconds)
        finally:
            filler.unlink()

    async def keep(self) -> None:
        """Start it again whenever it has died, until cancelled."""
        while True:
            ended = await self._server.wait_exited()
            if ended.reason is not ExitReason.DIED:
                async with self._changing:  # somebody is restarting it
                    continue
            began = time.time()
            async with self._changing:
                await until(self._start, "PostgreSQL starts again", 120)
            self.outages.append((began, time.time()))

    async def _start(self) -> bool:
        try:
            await asyncio.to_thread(self._server.restart)
        except Exception:  # the disk may still be full
            await asyncio.sleep(0.2)
            return False
        return True


def _fill(filler: Path) -> None:
    size = 0
    with filler.open("wb") as file, suppress(OSError):
        while free := shutil.disk_usage(filler.parent).free:
            os.posix_fallocate(file.fileno(), size, min(free, 16 * 1024 * 1024))
            size += min(free, 16 * 1024 * 1024)


@asynccontextmanager
async def open_database(folder: Path, disk: Path | None) -> AsyncIterator[LabDatabase]:
    """Have a server for the length of the block."""
    server = await asyncio.to_thread(start_server, (disk or folder) / "postgres", options=OPTIONS)
    database = LabDatabase(server, disk)
    keeping = asyncio.create_task(database.keep(), name="lab/database")
    try:
        yield database
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await asyncio.to_thread(server.stop)
