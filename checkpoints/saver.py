"""Owns the saver outside a run: the official one without its lock, and with what it lacks.

The format is LangGraph's own, so either reads what the other wrote. It leans on the private name `_cursor` of
the official saver and on what its constructor sets: pinned, and covered by the conformance suite.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection, AsyncCursor, Capabilities
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from threadline.checkpoints.rewriting import seal_copy
from threadline.checkpoints.rows import encode_checkpoint, encode_writes
from threadline.checkpoints.sealing import open_checkpoint, seal_blobs, seal_checkpoint, seal_writes
from threadline.checkpoints.serde import make_serializer
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of

_SQL = load_statements("threadline.checkpoints", "saver.sql")
_HAS_PIPELINE = Capabilities().has_pipeline()


class ThreadSaver(AsyncPostgresSaver):
    """LangGraph's Postgres saver with pool size as its concurrency, plus copy_thread and delete_for_runs.

    Takes a pool, or one connection to work inside the caller's transaction. Its writes are not fenced: use
    it where no run can be active, or while the thread's head is held. `stamp` goes into the metadata of what it saves.
    """

    SELECT_SQL = _SQL["select_checkpoints"] + " "

    def __init__(
        self,
        connections: AsyncConnectionPool[Any] | AsyncConnection[Any],
        *,
        serde: SerializerProtocol | None = None,
        pooler: bool = False,
        stamp: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        # One is made for every run, and the official constructor asks libpq and typing.Protocol each time: 25 us.
        # What it sets is set here; a test compares the two.
        self.serde = serde or make_serializer()
        self.conn = connections
        self._vault = vault_of(connections)
        self.pipe = None
        self.lock = asyncio.Lock()
        self.loop = asyncio.get_running_loop()
        self.supports_pipeline = _HAS_PIPELINE and not pooler
        self.stamp = stamp

    @property
    def seals(self) -> bool:
        """Whether what it saves is sealed."""
        return self._vault.seals

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        """The official one queues every caller behind one lock; the pool is the queue here."""
        if isinstance(self.conn, AsyncConnection):
            # In the caller's transaction, where statements follow each other anyway.
            async with self.lock, self.conn.cursor(binary=True, row_factory=dict_row) as cursor:
                yield cursor
            return
        async with self.conn.connection() as connection:
            if not pipeline:
                async with connection.cursor(binary=True, row_factory=dict_row) as cursor:
                    yield cursor
            elif self.supports_pipeline:
                async with (
                    connection.pipeline(),
                    connection.transaction(),
                    connection.cursor(binary=True, row_factory=dict_row) as cursor,
                ):
                    yield cursor
            else:
                async with (
                    connection.transaction(),
                    connection.cursor(binary=True, row_factory=dict_row) as cursor,
                ):
                    yield cursor

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint as the official saver does, except that text `jsonb` cannot hold becomes a blob."""
        thread_id = config["configurable"]["thread_id"]
        seals = self._vault.seals
        row, blobs = encode_checkpoint(self.serde, config, checkpoint, metadata, new_versions, self.stamp, seals=seals)
        text = row.checkpoint
        if seals:
            text = await seal_checkpoint(self._vault, str(thread_id), row)
            blobs = await seal_blobs(self._vault, str(thread_id), blobs)
        async with self._cursor(pipeline=True) as cursor:
            if blobs:
                await cursor.executemany(self.UPSERT_CHECKPOINT_BLOBS_SQL, [(thread_id, *blob) for blob in blobs])
            stored = (thread_id, row.ns, row.id, row.parent, text, row.metadata)
            await cursor.execute(self.UPSERT_CHECKPOINTS_SQL, stored)
        return {"configurable": {"thread_id": thread_id, "checkpoint_ns": row.ns, "checkpoint_id": row.id}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save a task's writes as the official saver does."""
        if not self._vault.seals:
            await super().aput_writes(config, writes, task_id, task_path)
            return
        thread_id = str(config["configurable"]["thread_id"])
        rows = await seal_writes(self._vault, thread_id, encode_writes(self.serde, config, writes, task_id, task_path))
        overwrites = bool(rows) and rows[0].overwrite
        statement = self.UPSERT_CHECKPOINT_WRITES_SQL if overwrites else self.INSERT_CHECKPOINT_WRITES_SQL
        async with self._cursor(pipeline=True) as cursor:
            await cursor.executemany(statement, [(thread_id, *row[:-1]) for row in rows])

    async def _load_checkpoint_tuple(self, value: DictRow) -> CheckpointTuple:
        if self._vault.seals:
            await open_checkpoint(self._vault, value)
        return await super()._load_checkpoint_tuple(value)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Read what a delta channel is rebuilt from; where values are sealed, checkpoint by checkpoint."""
        if self._vault.seals:
            return await BaseCheckpointSaver.aget_delta_channel_history(self, config=config, channels=channels)
        return await super().aget_delta_channel_history(config=config, channels=channels)

    async def latest_checkpoint_id(self, thread_id: str) -> str | None:
        """Return the greatest checkpoint id of the thread's root namespace."""
        async with self._cursor() as cursor:
            await cursor.execute(_SQL["latest_checkpoint_id"], {"thread_id": thread_id})
            row = await cursor.fetchone()
        return row["max"] if row else None

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy every checkpoint, value and pending write of one thread to another."""
        parameters = {"source": source_thread_id, "target": target_thread_id}
        async with self._cursor() as cursor, cursor.connection.transaction():
            for name in ("copy_blobs", "copy_writes", "copy_checkpoints"):
                await cursor.execute(_SQL[name], parameters)
            await seal_copy(cursor.connection, source_thread_id, target_thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str], *, thread_id: str | None = None) -> None:
        """Delete the checkpoints whose metadata names one of `run_ids`, and what only they refer to.

        Without `thread_id` every thread is searched, which reads the whole table.
        """
        async with self._cursor() as cursor, cursor.connection.transaction():
            await cursor.execute(
                _SQL["lock_runs_checkpoints"],
                {"run_ids": [str(run_id) for run_id in run_ids], "thread_id": thread_id},
            )
            rows = await cursor.fetchall()
            gone = {
                "thread_id": [row["thread_id"] for row in rows],
                "ns": [row["checkpoint_ns"] for row in rows],
                "id": [row["checkpoint_id"] for row in rows],
            }
            for name in ("delete_writes", "delete_checkpoints", "delete_orphaned_blobs"):
                await cursor.execute(_SQL[name], gone)
