"""Owns what a test of real processes starts from: folders, deployments of its own, and one that is never harmed."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.tests.laboratory.places import plain
from threadline.tests.process.deployments import Deployment


@contextmanager
def make_folder() -> Iterator[Path]:
    """Have a folder that the account of PostgreSQL can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="tl-process-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the test's own."""
    with make_folder() as made:
        yield made


@pytest.fixture
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    """A foreign project on a data directory of its own; nothing is started yet."""
    made = Deployment(folder)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def served() -> Iterator[Deployment]:
    """A foreign project that is being served, for all tests that do no harm to the server."""
    with make_folder() as folder:
        made = Deployment(folder)
        asyncio.run(made.serve())
        yield made
        asyncio.run(made.close())


@pytest.fixture(scope="module")
def split(server_dsn: str, template_database: str) -> Iterator[Deployment]:
    """A foreign project served by `threadline api` and one `threadline worker`, which tests leave in peace."""
    name = f"threadline_split_{uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template_database))
        )
        with make_folder() as folder:
            made = Deployment(folder, dsn=plain(make_conninfo(server_dsn, dbname=name)))
            asyncio.run(_start_split(made))
            yield made
            asyncio.run(made.close())
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def _start_split(deployment: Deployment) -> None:
    await asyncio.gather(deployment.api(), deployment.work())
