"""Owns starting, restarting and finding the embedded server; what a caller does with the DSN is left to `pool`."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.embedded.account import find_account
from threadline.checkpoints.embedded.binaries import Binaries, find_binaries
from threadline.checkpoints.embedded.cluster import SUPERUSER, clear_stale_pid_file, create_cluster
from threadline.checkpoints.embedded.directory import make_layout, prepare_data_dir
from threadline.checkpoints.embedded.errors import EmbeddedServerError, ServerStartFailed
from threadline.checkpoints.embedded.locks import Record, own, read_live_record, write_record
from threadline.checkpoints.embedded.postmaster import RESERVED_OPTIONS, Postmaster, ServerExit, launch
from threadline.checkpoints.embedded.sockets import PORT, make_socket_dir
from threadline.checkpoints.statements import load_statements

logger = logging.getLogger("threadline.embedded")

DATABASE = "threadline"

_statements = load_statements("threadline.checkpoints.embedded", "database.sql")

# As long as pg_ctl waits: a start after a power cut replays the log first.
_START_PATIENCE = timedelta(seconds=60)
_LOCK_PATIENCE = timedelta(seconds=10)


class EmbeddedServer:
    """A PostgreSQL server that lives as long as this process wants, and no longer than this process.

    Made by `start_server` or `run_server`. Its plain methods block, up to seconds: call them in a thread from
    async code. A server that died by itself stays down until `restart`.
    """

    def __init__(
        self, data_dir: Path, bindir: Path | None, options: Mapping[str, str], abandoned: threading.Event
    ) -> None:
        reserved = sorted(name for name in options if name.lower() in RESERVED_OPTIONS)
        if reserved:
            raise ValueError(f"The embedded server sets {', '.join(reserved)} itself: leave it out of `options`.")
        self.data_dir = data_dir.expanduser().resolve()
        self._bindir = bindir
        self._options = dict(options)
        self._abandoned = abandoned
        self._changing = threading.Lock()
        self._start()

    @property
    def dsn(self) -> str:
        """A libpq connection string (not a URL) for the superuser and database `threadline`."""
        return self._dsn

    @property
    def binaries(self) -> Binaries:
        """Which server was found, and where."""
        return self._binaries

    @property
    def log_path(self) -> Path:
        """The log of the server's current life; that of the life before it has `.1` at the end."""
        return self._log_path

    def stop(self) -> ServerExit:
        """Shut the server down, cutting its clients; one that is down already just says how it ended."""
        with self._changing:
            ended = self._postmaster.stop()
        logger.info(
            "embedded.stopped",
            extra={"data_dir": str(self.data_dir), "reason": ended.reason.value, "code": ended.code},
        )
        return ended

    def restart(self) -> None:
        """Stop the server if it is up, and start it again on the same data; the DSN stays the same.

        Raises EmbeddedServerError as `start_server` does.
        """
        with self._changing:
            self._postmaster.stop()
            self._start()

    async def wait_exited(self) -> ServerExit:
        """Wait until the server has ended, of itself or by `stop`; several tasks may wait."""
        return await self._postmaster.wait_exited()

    def _start(self) -> None:
        try:
            postmaster, socket_dir = self._launch()
        except OSError as error:
            raise EmbeddedServerError(
                f"The data directory {self.data_dir} cannot be used: {error}. Correct that or choose another one."
            ) from error
        postmaster.wait_ready(_START_PATIENCE, self._abandoned)
        self._dsn = make_conninfo(host=str(socket_dir), port=PORT, user=SUPERUSER, dbname=DATABASE)
        try:
            _create_database(self._dsn)
        except psycopg.Error as error:
            postmaster.stop()
            raise ServerStartFailed(f"PostgreSQL in {self.data_dir} is up but has no database: {error}") from error
        self._postmaster = postmaster
        write_record(self.data_dir, Record(os.getpid(), str(socket_dir), self._dsn))
        logger.info("embedded.started", extra={"data_dir": str(self.data_dir), **_describe(self._binaries)})

    def _launch(self) -> tuple[Postmaster, Path]:
        account = find_account()
        prepare_data_dir(self.data_dir, account)
        with own(self.data_dir, _LOCK_PATIENCE, self._abandoned) as ownership:
            binaries = find_binaries(self._bindir, self.data_dir, account)
            layout = make_layout(self.data_dir, binaries.version.major, account)
            durable = self._options.get("fsync", "on") != "off"
            create_cluster(layout, binaries, account, ownership.server_lock, durable=durable)
            clear_stale_pid_file(layout.cluster)
            socket_dir = make_socket_dir(self.data_dir, account)
            write_record(self.data_dir, Record(os.getpid(), str(socket_dir)))
            self._binaries, self._log_path = binaries, layout.log
            return launch(binaries, layout, socket_dir, self._options, account, ownership), socket_dir


def start_server(
    data_dir: Path, *, bindir: Path | None = None, options: Mapping[str, str] | None = None
) -> EmbeddedServer:
    """Start a server on `data_dir`, creating what is missing, and return it once it accepts connections.

    `bindir` names the server programs to use instead of the best ones found; `options` are PostgreSQL settings for
    this start. It ends with `stop`, or with this process in whatever way that ends. Raises BinariesNotFound,
    DataDirectoryInUse or another EmbeddedServerError, and ValueError for options that are not the caller's.
    """
    return EmbeddedServer(data_dir, bindir, options or {}, threading.Event())


@asynccontextmanager
async def run_server(
    data_dir: Path, *, bindir: Path | None = None, options: Mapping[str, str] | None = None
) -> AsyncIterator[EmbeddedServer]:
    """Have a server as `start_server` gives it for the length of the context, without blocking the loop."""
    abandoned = threading.Event()
    starting = asyncio.create_task(
        asyncio.to_thread(EmbeddedServer, data_dir, bindir, options or {}, abandoned), name="embedded-start"
    )
    try:
        server = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # A thread cannot be cancelled: it is told to give up, and what it started anyway is stopped.
        abandoned.set()
        await asyncio.wait([starting])
        if starting.exception() is None:
            await asyncio.to_thread(starting.result().stop)
        raise
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


def attach(data_dir: Path) -> str | None:
    """Return the DSN of the server that another process runs on `data_dir`, or None if there is no ready one.

    The answer holds for as long as that process does. Raises EmbeddedServerError if it is another account's.
    """
    record = read_live_record(data_dir.expanduser().resolve())
    return record.dsn if record else None


def _create_database(dsn: str) -> None:
    with psycopg.connect(dsn, dbname="postgres", autocommit=True, connect_timeout=10) as conn:
        row = conn.execute(_statements["database_exists"]).fetchone()
        if row != (True,):
            conn.execute(_statements["create_database"])


def _describe(binaries: Binaries) -> dict[str, str]:
    return {
        "version": binaries.version.full,
        "source": binaries.source.value,
        "bindir": str(binaries.bindir),
    }
