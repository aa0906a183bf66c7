"""Owns copies of whole threads, and the measure of what a thread takes; forks from somewhere within are `replay`'s."""

from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from threadline.checkpoints.pool import Connections
from threadline.checkpoints.rewriting import seal_copy
from threadline.checkpoints.statements import load_statements
from threadline.runs.errors import ThreadNotFound
from threadline.runs.model import JsonObject

_SQL = load_statements("threadline.runs", "copies.sql")


async def copy_thread(pool: Connections, source: UUID, target: UUID, labels: str = "{}") -> None:
    """Make a thread `target` that begins where `source` is; runs and events stay with the source.

    `labels` is JSON text that goes over the metadata. Raises ThreadNotFound.
    """
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(_SQL["lock_source"], {"source": source})
        head = await cursor.fetchone()
        if head is None:
            raise ThreadNotFound(source)
        parameters: dict[str, Any] = {"source": source, "target": target}
        made = {"is_busy": head[0] > 0, "has_checkpoint": head[1], "labels": labels}
        await connection.execute(_SQL["copy_thread"], parameters | made)
        for name in ("copy_checkpoints", "copy_blobs", "copy_writes"):
            await connection.execute(_SQL[name], parameters)
        await seal_copy(connection, source, target)


async def measure_thread(pool: Connections, thread_id: UUID) -> JsonObject:
    """Return the bytes that all rows of the thread take, by what they are. Raises ThreadNotFound."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["measure"], {"thread_id": thread_id})
        measured = await cursor.fetchone()
    if measured is None:
        raise ThreadNotFound(thread_id)
    total = sum(part["bytes"] for part in measured.values())
    return {"thread_id": thread_id, "total_bytes": total, **measured}
