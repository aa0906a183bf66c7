"""Owns what an existing database is found to hold: whose tables, how many threads, and values in which form.

It writes nothing. What follows from a finding, and in which words, is the doctor's to say.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection

from threadline.checkpoints.serde import make_serializer
from threadline.checkpoints.statements import load_statements

_SQL = load_statements("threadline.checkpoints", "survey.sql")

SAMPLE = 500  # values that are read as a trial
_SERDE_LOGGER = "langgraph.checkpoint.serde.jsonplus"

# A column that only the official saver's table has like this.
_SAVER = {
    "checkpoints": {"thread_id": "text", "checkpoint_ns": "text", "checkpoint_id": "text", "checkpoint": "jsonb"},
    "checkpoint_blobs": {"thread_id": "text", "channel": "text", "version": "text", "blob": "bytea"},
    "checkpoint_writes": {"thread_id": "text", "task_id": "text", "idx": "integer", "blob": "bytea"},
}


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. `tables` are those of the schema in use, each with its columns and their types.

    `blocked` are classes that values hold and that would not be constructed, `unreadable` how many of `sampled`
    values could not be read at all.
    """

    version: int
    encoding: str
    tables: Mapping[str, Mapping[str, str]]
    may_create: bool
    is_migrated: bool
    checkpoint_version: int | None = None
    threads: int = 0
    addressable: int = 0
    unknown: int = 0
    types: Mapping[str, int] = field(default_factory=dict)
    sampled: int = 0
    unreadable: int = 0
    blocked: Sequence[str] = ()

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is a table of checkpoints at all."""
        return "checkpoints" in self.tables

    @property
    def is_of_the_saver(self) -> bool:
        """Whether these are tables as LangGraph's own PostgresSaver makes them, which are used as they stand."""
        return all(
            self.tables.get(table, {}).get(column) == kind
            for table, columns in _SAVER.items()
            for column, kind in columns.items()
        )


async def survey(connection: AsyncConnection, schema: str, allowed: Iterable[tuple[str, ...]]) -> Survey:
    """Look at one schema of the database; `allowed` are the (module, name) of the classes that the graphs declare.

    Raises psycopg.Error.
    """
    await connection.set_read_only(True)
    version, encoding = await _row(connection, "version")
    tables: dict[str, dict[str, str]] = {}
    cursor = await connection.execute(_SQL["columns"], {"schema": schema})
    for table, column, kind in await cursor.fetchall():
        tables.setdefault(table, {})[column] = kind
    (may_create,) = await _row(connection, "may_create", {"schema": schema})
    found = Survey(version, encoding, tables, may_create, "threadline_migrations" in tables)
    if not found.is_of_the_saver:
        return found
    return await _survey_checkpoints(connection, found, allowed)


async def _survey_checkpoints(connection: AsyncConnection, found: Survey, allowed: Iterable[tuple[str, ...]]) -> Survey:
    applied = None
    if "checkpoint_migrations" in found.tables:
        (applied,) = await _row(connection, "checkpoint_version")
    threads, addressable = await _row(connection, "threads")
    (unknown,) = await _row(connection, "unknown_threads") if "thread_heads" in found.tables else (threads,)
    cursor = await connection.execute(_SQL["types"])
    types = {kind or "": count for kind, count in await cursor.fetchall()}
    cursor = await connection.execute(_SQL["sample"], {"limit": SAMPLE})
    values = await cursor.fetchall()
    unreadable, blocked = _try_reading(values, allowed)
    return Survey(
        found.version,
        found.encoding,
        found.tables,
        found.may_create,
        found.is_migrated,
        checkpoint_version=applied,
        threads=threads,
        addressable=addressable,
        unknown=unknown,
        types=types,
        sampled=len(values),
        unreadable=unreadable,
        blocked=blocked,
    )


async def _row(
    connection: AsyncConnection, statement: str, parameters: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    cursor = await connection.execute(_SQL[statement], parameters)
    row = await cursor.fetchone()
    assert row is not None
    return row


def _try_reading(values: Sequence[tuple[str, bytes]], allowed: Iterable[tuple[str, ...]]) -> tuple[int, Sequence[str]]:
    serializer = make_serializer(allowed)
    unreadable = 0
    with _listening() as told:
        for kind, value in values:
            try:
                serializer.loads_typed((kind, bytes(value)))
            except Exception:  # whatever foreign bytes raise means the same
                unreadable += 1
    classes = {text.partition(" of ")[2].partition(" - ")[0] for text in told if text.startswith("Blocked ")}
    return unreadable, sorted(classes)


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what LangGraph's serialiser says about classes it does not construct, instead of logging it."""
    told: list[str] = []

    def take(record: logging.LogRecord) -> bool:
        told.append(record.getMessage())
        return False

    logger = logging.getLogger(_SERDE_LOGGER)
    logger.addFilter(take)
    try:
        yield told
    finally:
        logger.removeFilter(take)
