"""Owns the one PostgreSQL of a sitting, as durable as in production, and a database of its own per contender."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.embedded import run_server

_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server on which databases may be created. `relaxed` names what it does not wait for, though it should."""

    dsn: str
    version: str
    relaxed: tuple[str, ...]

    @asynccontextmanager
    async def open_database(self) -> AsyncIterator[str]:
        """Have an empty database for the length of the block; yields its conninfo."""
        name = f"threadline_bench_{uuid4().hex[:12]}"
        async with await AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            yield make_conninfo(self.dsn, dbname=name)
        finally:
            async with await AsyncConnection.connect(self.dsn, autocommit=True) as connection:
                await connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@asynccontextmanager
async def open_postgres(dsn: str | None, folder: Path) -> AsyncIterator[Postgres]:
    """Have the server that `dsn` leads to, or without one our own on new data in `folder`."""
    own = run_server(folder) if dsn is None else None
    async with own or nullcontext() as server:
        found = dsn if server is None else server.dsn
        assert found is not None
        async with await AsyncConnection.connect(found, autocommit=True) as connection:
            names = ["server_version", *_DURABLE]
            cursor = await connection.execute("select name, setting from pg_settings where name = any(%s)", [names])
            settings: dict[str, str] = dict(await cursor.fetchall())
        relaxed = tuple(f"{name}={settings[name]}" for name, durable in _DURABLE.items() if settings[name] != durable)
        yield Postgres(found, settings["server_version"], relaxed)
