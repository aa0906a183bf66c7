"""Owns the laboratory that each invariant test gets, on a database that is emptied rather than made anew each time."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.places import plain

LARGE = 4 * 1024 * 1024  # bytes from which truncating a table is cheaper than deleting its rows

_OTHERS = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
_TABLES = """
    select c.relname, pg_total_relation_size(c.oid)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = current_schema() and c.relkind = 'r' and c.relname not like '%migrations'
"""


@pytest.fixture(scope="session")
def lasting_dsn(server_dsn: str, template_database: str) -> Iterator[str]:
    """A migrated database for all of these tests: making one costs more than most of them do."""
    name = f"threadline_invariants_{uuid4().hex[:12]}"
    create = sql.SQL("create database {} template {}")
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template_database)))
    yield plain(make_conninfo(server_dsn, dbname=name))
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def dsn(lasting_dsn: str) -> Iterator[str]:
    """The database, empty, and nobody else on it."""
    yield lasting_dsn
    with psycopg.connect(lasting_dsn, autocommit=True) as connection:
        while connection.execute(f"select pg_terminate_backend(pid, 1000) from ({_OTHERS}) others").fetchall():
            continue
        connection.execute("alter table checkpoint_blobs drop constraint if exists no_poison")
        for name, size in connection.execute(_TABLES).fetchall():
            empty = sql.SQL("truncate {} cascade" if size > LARGE else "delete from {}")
            connection.execute(empty.format(sql.Identifier(name)))


@pytest.fixture
async def lab(dsn: str, tmp_path: Path) -> AsyncIterator[Laboratory]:
    """A database, and what the test starts on it."""
    async with AsyncExitStack() as stack:
        yield Laboratory(dsn, tmp_path, stack)
