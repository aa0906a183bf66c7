"""Owns the schema's way forward: LangGraph's own tables, then our numbered documents, once, under one lock."""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from time import monotonic
from typing import LiteralString

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.store.postgres.aio import AsyncPostgresStore
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from threadline.checkpoints.pool import Database, Pool
from threadline.checkpoints.schema import DEFAULT_SCHEMA, Schema
from threadline.checkpoints.statements import load_statements

logger = logging.getLogger("threadline.migrate")

_LOCK_KEY = 7_216_041_853_921_104  # any number nobody else uses; fixed for ever, and that of the default schema
_FILE = re.compile(r"^(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql$")
_SQL = load_statements("threadline.checkpoints", "migrate.sql")
_SCHEMA_SQL = load_statements("threadline.checkpoints", "schema.sql")


class MigrationError(Exception):
    """The schema could not be brought up to date; the text says which step and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered document of `migrations/`."""

    number: int
    name: str
    text: LiteralString

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_concurrent(self) -> bool:
        """Whether it is the one statement that builds an index beside writers, which no transaction may hold."""
        return "create index concurrently if not exists" in self.text


def list_migrations() -> list[Migration]:
    """Return the documents in order. Raises MigrationError when two have one number; a hole is one never released."""
    found = []
    for entry in files("threadline.checkpoints.migrations").iterdir():
        if match := _FILE.match(entry.name):
            text = entry.read_text("utf-8")
            found.append(Migration(int(match["number"]), match["name"], text))
    found.sort(key=lambda migration: migration.number)
    numbers = [migration.number for migration in found]
    if len(set(numbers)) < len(numbers):
        raise MigrationError(f"each migration must have a number of its own: {numbers}")
    return found


async def migrate(database: Database, *, wait: float = 60.0) -> list[str]:
    """Bring the schema up to date and return the names of the steps applied now.

    Safe when several processes start at once: one migrates, the others wait up to `wait` seconds by asking
    again and again, because a session that waits inside pg_advisory_lock holds a snapshot and would block
    LangGraph's CREATE INDEX CONCURRENTLY for ever. Raises MigrationError.
    """
    async with schema_lock(database, wait) as connection:
        applied = await _apply_langgraph(connection, database.schema)
        return applied + await _apply_documents(connection)


@asynccontextmanager
async def schema_lock(database: Database, wait: float = 60.0) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that nobody else changes the schema beside. Raises MigrationError after `wait` seconds.

    The schema itself is made if need be.
    """
    async with (
        await database.connect("migrate", direct=True) as connection,
        _lock_for_session(connection, database, wait) if database.has_sessions else _lock_beside(database, wait),
    ):
        await _make_schema(connection, database.schema)
        await database.locate_extensions(connection)
        yield connection


@asynccontextmanager
async def _lock_for_session(connection: AsyncConnection, database: Database, wait: float) -> AsyncIterator[None]:
    key = _lock_key(database.schema)
    await _take_lock(connection, "try_lock", key, wait)
    try:
        yield
    finally:
        if not connection.broken:
            await connection.execute(_SQL["unlock"], {"key": key})


@asynccontextmanager
async def _lock_beside(database: Database, wait: float) -> AsyncIterator[None]:
    """Hold the lock in an open transaction: a pooler keeps that together. Without a snapshot it blocks no index."""
    async with await database.connect("migrate/lock") as holder, holder.transaction():
        await _take_lock(holder, "try_lock_for_transaction", _lock_key(database.schema), wait)
        yield


def _lock_key(schema: Schema) -> int:
    if schema.name == DEFAULT_SCHEMA:
        return _LOCK_KEY
    return int.from_bytes(hashlib.sha256(schema.name.encode()).digest()[:8], signed=True)


async def _make_schema(connection: AsyncConnection, schema: Schema) -> None:
    cursor = await connection.execute(_SCHEMA_SQL["schema_exists"], {"schema": schema.name})
    if await cursor.fetchone() == (False,):
        await connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema.name)))


async def verify(pool: Pool) -> None:
    """Raise MigrationError unless every migration this release knows is applied."""
    async with pool.connection() as connection:
        applied = await _applied(connection)
    missing = [f"{m.number:04}_{m.name}" for m in list_migrations() if m.number not in applied]
    if missing:
        raise MigrationError(f"the database lacks migrations {', '.join(missing)}: run `threadline migrate` first")


async def _take_lock(connection: AsyncConnection, statement: str, key: int, wait: float) -> None:
    deadline = monotonic() + wait
    while True:
        cursor = await connection.execute(_SQL[statement], {"key": key})
        row = await cursor.fetchone()
        if row and row[0]:
            return
        if monotonic() > deadline:
            raise MigrationError(f"another process has been migrating for over {wait:.0f} s")
        await asyncio.sleep(0.05)


async def _apply_langgraph(connection: AsyncConnection, schema: Schema) -> list[str]:
    """Run the official savers' own migrations on this connection, after removing half-built indexes."""
    cursor = await connection.execute(_SQL["invalid_indexes"], {"schema": schema.name})
    for (statement,) in await cursor.fetchall():
        logger.warning("migrate.invalid_index", extra={"statement": statement})
        await connection.execute(statement.encode())
    before = await _langgraph_versions(connection)
    plain_row_factory = connection.row_factory
    connection.row_factory = dict_row  # type: ignore[assignment]  # the official classes read rows by name
    try:
        await AsyncPostgresSaver(connection).setup()  # type: ignore[arg-type]  # they read rows by name
        await AsyncPostgresStore(connection).setup()  # type: ignore[arg-type]  # they read rows by name
    finally:
        connection.row_factory = plain_row_factory
    after = await _langgraph_versions(connection)
    return [f"langgraph {table} v{version}" for table, version in sorted(after - before)]


async def _langgraph_versions(connection: AsyncConnection) -> set[tuple[str, int]]:
    versions: set[tuple[str, int]] = set()
    for table in ("checkpoint", "store"):
        cursor = await connection.execute(_SQL[f"{table}_versions_exist"])
        row = await cursor.fetchone()
        if row and row[0]:
            cursor = await connection.execute(_SQL[f"{table}_versions"])
            versions.update((table, version) for (version,) in await cursor.fetchall())
    return versions


async def _applied(connection: AsyncConnection) -> dict[int, str]:
    cursor = await connection.execute(_SQL["migrations_exist"])
    row = await cursor.fetchone()
    if not row or not row[0]:
        return {}
    cursor = await connection.execute(_SQL["applied"])
    return dict(await cursor.fetchall())


async def _apply_documents(connection: AsyncConnection) -> list[str]:
    await connection.execute(_SQL["create_migrations"])
    applied = await _applied(connection)
    names = []
    for migration in list_migrations():
        if (digest := applied.get(migration.number)) is not None:
            if digest != migration.digest:
                logger.warning("migrate.changed", extra={"migration": migration.name})
            continue
        await _apply_document(connection, migration)
        names.append(f"{migration.number:04}_{migration.name}")
    return names


async def _apply_document(connection: AsyncConnection, migration: Migration) -> None:
    record = {"number": migration.number, "name": migration.name, "digest": migration.digest}
    try:
        if migration.is_concurrent:
            # What was built but not recorded, or only half built, is found and dealt with by the next attempt.
            await connection.execute(migration.text, prepare=False)
            await connection.execute(_SQL["record"], record)
        else:
            async with connection.transaction():
                await connection.execute(migration.text, prepare=False)
                await connection.execute(_SQL["record"], record)
    except Exception as error:
        raise MigrationError(f"migration {migration.number:04}_{migration.name} failed: {error}") from error
    logger.info("migrate.applied", extra={"migration": f"{migration.number:04}_{migration.name}"})
