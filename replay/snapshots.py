"""Owns reading a thread as of one moment: a read-only transaction that neither waits for runs nor holds them up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, IsolationLevel

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.callers import clear_thread
from threadline.runs.errors import ThreadNotFound

_SQL = load_statements("threadline.replay", "steps.sql")


@asynccontextmanager
async def snapshot(pool: Pool, *thread_ids: UUID, writes: bool = False) -> AsyncIterator[AsyncConnection[Any]]:
    """Yield a connection that sees the database as of the block's beginning; with `writes` it may add to it.

    Raises ThreadNotFound when one of the threads is not there, or is not the caller's.
    """
    for thread_id in thread_ids:
        await clear_thread(pool, thread_id)
    async with pool.connection() as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(not writes)
        try:
            async with connection.transaction():
                for thread_id in thread_ids:
                    cursor = await connection.execute(_SQL["thread_exists"], {"thread_id": thread_id})
                    if await cursor.fetchone() is None:
                        raise ThreadNotFound(thread_id)
                yield connection
        finally:
            if not connection.closed:
                await connection.set_isolation_level(None)
                await connection.set_read_only(None)
