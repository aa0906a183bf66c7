"""Owns the databases of the tests: one real server per session, one fresh migrated database per test."""

import gc
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage, rmtree
from tempfile import mkdtemp
from uuid import uuid4

import psycopg
import pytest
import trustme
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import Database, Pool, open_pool
from threadline.commands.collector import collect_seldom, keep_what_is_there
from threadline.tests.laboratory import places
from threadline.tests.laboratory.places import plain, reach
from threadline.tests.laboratory.pooler import run_pooler

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
ENOUGH_MEMORY = 4 * 1024**3  # bytes; each server keeps up to 1 GB of its log


def pytest_configure(config: pytest.Config) -> None:
    """Choose what the tests, and all that they start, inherit."""
    collect_seldom()
    if hasattr(config, "workerinput"):
        return
    if "TMPDIR" not in os.environ and (memory := _memory()) is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = str(memory)
    # Clients load all certificates that are trusted, at 15 ms each time, for plain HTTP, too: let there be one.
    folder = Path(mkdtemp(prefix="threadline-trust-"))
    config.add_cleanup(lambda: rmtree(folder))
    trustme.CA().cert_pem.write_to_path(str(folder / "trusted.pem"))
    os.environ["SSL_CERT_FILE"] = str(folder / "trusted.pem")


def _memory() -> Path | None:
    """A folder in memory if there is plenty: a database is copied there at a tenth of the CPU that a disk's takes."""
    memory = Path("/dev/shm")  # its names are our own: mkdtemp chooses them
    if not memory.is_dir() or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return None
    return memory if disk_usage(memory).free > ENOUGH_MEMORY else None


def pytest_collection_finish() -> None:
    """Do as the product does: three thousand collected tests are much to look through in vain."""
    keep_what_is_there()


def pytest_unconfigure() -> None:
    """Let what was kept be collected after all: libraries look for what is left at the end, and complain."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A conninfo with the right to create databases: TEST_DATABASE_URL, else a server of our own."""
    with _server() as dsn:
        if places.WANTS_POOLER not in os.environ:
            yield dsn
            return
        with run_pooler(dsn) as pooler:
            os.environ[places.POOLER] = pooler  # for processes that are forked, too
            yield dsn


@contextmanager
def _server() -> Iterator[str]:
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    from threadline.checkpoints.embedded.server import start_server

    bindir = os.environ.get("PG_BINDIR")
    # Not below pytest's own folder: that one is closed to the user PostgreSQL runs as when we are root.
    data_dir = Path(mkdtemp(prefix="threadline-pg-"))
    server = start_server(data_dir, bindir=Path(bindir) if bindir else None, options=FAST)
    try:
        yield server.dsn
    finally:
        server.stop()
        rmtree(data_dir)


@pytest.fixture(scope="session")
def template_database(server_dsn: str) -> Iterator[str]:
    """The name of a migrated database that tests copy in a few milliseconds."""
    import asyncio

    name = f"threadline_template_{uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    asyncio.run(migrate(reach(make_conninfo(server_dsn, dbname=name))))
    yield name
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


class Databases:
    """The databases of the tests, each dropped when the next is made.

    By then what was connected to it is gone; PostgreSQL sleeps for 0.1 s where it is not.
    """

    def __init__(self, connection: psycopg.Connection, template: str) -> None:
        self._connection = connection
        self._template = template
        self._used: str | None = None

    def make(self) -> str:
        """Return the name of a new copy of the template."""
        self.drop_used()
        self._used = f"threadline_test_{uuid4().hex[:12]}"
        copy = sql.SQL("create database {} template {} strategy file_copy")
        self._connection.execute(copy.format(sql.Identifier(self._used), sql.Identifier(self._template)))
        return self._used

    def drop_used(self) -> None:
        """Drop what the last test has used."""
        if self._used is not None:
            self._connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(self._used)))
            self._used = None


@pytest.fixture(scope="session")
def databases(server_dsn: str, template_database: str) -> Iterator[Databases]:
    """Where tests get their databases from."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        made = Databases(connection, template_database)
        yield made
        made.drop_used()


@pytest.fixture
def dsn(server_dsn: str, databases: Databases) -> str:
    """The conninfo of a fresh, migrated database that nobody else uses."""
    return plain(make_conninfo(server_dsn, dbname=databases.make()))


@pytest.fixture
def database(dsn: str) -> Database:
    """The fresh database as the code is handed it."""
    return reach(dsn)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """An open pool of autocommit connections to the fresh database."""
    async with open_pool(database, "test") as opened:
        yield opened


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say below the results what a test has recorded as its `summary`."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            told = dict(getattr(report, "user_properties", ()))
            if "summary" in told and report.when == "call":
                terminalreporter.write_line(str(told["summary"]))
