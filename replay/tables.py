"""Owns the tables of an export: their columns, and how the rows of a thread are read. Files are `files`' business."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from psycopg import AsyncConnection

from threadline.checkpoints.sealing import open_text, run_place, thread_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of
from threadline.replay.executions import read_log
from threadline.replay.timeline import compose
from threadline.runs.encoding import encode

_SQL = load_statements("threadline.replay", "export.sql")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PAGE = 100

# `json` is JSON text as bytes, `time` microseconds since the epoch, `id` a UUID as text; each may be None.
Kind = Literal["id", "text", "integer", "number", "time", "json"]
Row = tuple[Any, ...]
Rows = Callable[[AsyncConnection[Any], UUID], AsyncIterator[Row]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the export; `rows` reads those of one thread."""

    name: str
    columns: dict[str, Kind]
    rows: Rows


async def _read_runs(connection: AsyncConnection[Any], thread_id: UUID) -> AsyncIterator[Row]:
    vault = vault_of(connection)
    async with connection.cursor("runs") as cursor:
        cursor.itersize = _PAGE
        await cursor.execute(_SQL["runs"], {"thread_id": thread_id})
        async for row in cursor:
            run_id, assistant_id, graph_id, status, attempt, strategy, *times, metadata, kwargs, error = row
            kwargs = await open_text(vault, run_place("kwargs", run_id), kwargs)
            error = await open_text(vault, run_place("error", run_id), error)
            yield (
                str(run_id),
                str(thread_id),
                str(assistant_id),
                graph_id,
                status,
                attempt,
                strategy,
                *[to_microseconds(time) for time in times],
                to_bytes(metadata),
                to_bytes(kwargs),
                to_bytes(error),
            )


async def _read_events(connection: AsyncConnection[Any], thread_id: UUID) -> AsyncIterator[Row]:
    async for row in read_log(connection, thread_id):
        for event in row.events():
            yield str(thread_id), str(event.run_id), event.seq, event.name, event.time, bytes(event.data)


async def _read_steps(connection: AsyncConnection[Any], thread_id: UUID) -> AsyncIterator[Row]:
    async for entry in compose(connection, thread_id, subgraphs=True):
        if entry.step is None:
            continue
        view = entry.view()
        yield (
            str(thread_id),
            view["checkpoint_ns"],
            view["checkpoint_id"],
            view["parent_checkpoint_id"],
            view["run_id"],
            view["step"],
            view["source"],
            to_microseconds(datetime.fromisoformat(view["created_at"])),
            view["duration"],
            view["wait"],
            view["tokens"],
            *[encode(view[name]) for name in ("nodes", "interrupts", "patch")],
            encode(entry.step.values),
            encode(entry.step.metadata),
        )


THREADS: dict[str, Kind] = {
    "thread_id": "id",
    "graph_id": "text",
    "status": "text",
    "created_at": "time",
    "updated_at": "time",
    "metadata": "json",
    "values": "json",
    "error": "json",
}
RUNS = Table(
    "runs",
    {
        "run_id": "id",
        "thread_id": "id",
        "assistant_id": "id",
        "graph_id": "text",
        "status": "text",
        "attempt": "integer",
        "multitask_strategy": "text",
        "created_at": "time",
        "started_at": "time",
        "ended_at": "time",
        "metadata": "json",
        "kwargs": "json",
        "error": "json",
    },
    _read_runs,
)
EVENTS = Table(
    "events",
    {"thread_id": "id", "run_id": "id", "seq": "integer", "name": "text", "time": "time", "data": "json"},
    _read_events,
)
STEPS = Table(
    "steps",
    {
        "thread_id": "id",
        "checkpoint_ns": "text",
        "checkpoint_id": "id",
        "parent_checkpoint_id": "id",
        "run_id": "id",
        "step": "integer",
        "source": "text",
        "created_at": "time",
        "duration": "number",
        "wait": "number",
        "tokens": "integer",
        "nodes": "json",
        "interrupts": "json",
        "patch": "json",
        "values": "json",
        "metadata": "json",
    },
    _read_steps,
)


async def read_threads(
    connection: AsyncConnection[Any], thread_id: UUID | None, since: datetime | None
) -> AsyncIterator[tuple[UUID, Row]]:
    """Yield the chosen threads: the id, and the row for the export. Must run in a transaction."""
    vault = vault_of(connection)
    async with connection.cursor("threads") as cursor:
        cursor.itersize = _PAGE
        await cursor.execute(_SQL["threads"], {"thread_id": thread_id, "since": since})
        async for id_, graph_id, status, created, updated, metadata, values, error in cursor:
            times = to_microseconds(created), to_microseconds(updated)
            values = await open_text(vault, thread_place("values", id_), values)
            error = await open_text(vault, thread_place("error", id_), error)
            yield id_, (str(id_), graph_id, status, *times, to_bytes(metadata), to_bytes(values), to_bytes(error))


async def count_rows(
    connection: AsyncConnection[Any], thread_id: UUID | None, since: datetime | None
) -> dict[str, int]:
    """Return how many rows each table will have."""
    cursor = await connection.execute(_SQL["count"], {"thread_id": thread_id, "since": since})
    row = await cursor.fetchone()
    assert row is not None
    return dict(zip(("threads", "runs", "events", "steps"), row, strict=True))


def to_microseconds(time: datetime | None) -> int | None:
    """Return a time as PostgreSQL and Parquet count it."""
    return (time - _EPOCH) // timedelta(microseconds=1) if time is not None else None


def to_bytes(text: str | None) -> bytes | None:
    """Return JSON text as the events carry it."""
    return text.encode() if text is not None else None
