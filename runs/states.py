"""Owns the state of a thread as clients read and change it: which graph knows it and who hears of a change.

How a state looks is `state_view`'s, how it is changed `state_updates`'.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import InvalidUpdateError
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from langgraph.types import StateSnapshot
from langgraph_sdk.runtime import AccessContext
from psycopg import AsyncConnection
from psycopg.rows import class_row

from threadline.checkpoints.pool import Connections, Pool
from threadline.checkpoints.sealing import thread_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of
from threadline.graphs.errors import UnknownGraph as NoSuchGraph
from threadline.graphs.registry import Registry
from threadline.runs.callers import clear_thread, current_user, for_graph, with_caller
from threadline.runs.errors import (
    CheckpointNotFound,
    Invalid,
    InvalidState,
    ThreadExists,
    ThreadNotFound,
    UnknownGraph,
)
from threadline.runs.metadata import refuse_unstorable
from threadline.runs.model import JsonObject, Ttl
from threadline.runs.state_updates import Superstep, update_state
from threadline.runs.state_view import (
    CheckpointReference,
    checkpoint_config,
    view_checkpoint,
    view_config,
    view_state,
)
from threadline.runs.threads import permit_creation

_SQL = load_statements("threadline.runs", "states.sql")
_THREADS = load_statements("threadline.runs", "threads.sql")

MAX_HISTORY = 1000

Graph = Pregel[Any, Any, Any, Any]
OpenSaver = Callable[[Pool | AsyncConnection[Any], str], BaseCheckpointSaver[Any]]


class _Thread(NamedTuple):
    thread_id: UUID
    graph_id: str  # "" without one
    config: JsonObject


class States:
    """The states of one database's threads.

    `open_saver` makes a saver over the pool or over one connection, for the graph of that id (one that is
    not in langgraph.json, or "", for states without a graph). `announce` tells the tails of a thread that
    there is something new.

    States are dicts of the wire's ThreadState that hold the graph's own values: `encode` makes them JSON. A
    thread whose graph is gone, or failed to import, still has a state: what its checkpoint holds, without `tasks`,
    and with the reason in `graph_error`.
    """

    def __init__(
        self,
        pool: Pool,
        registry: Registry,
        open_saver: OpenSaver,
        announce: Callable[[UUID], Awaitable[None]],
        store: BaseStore | None = None,
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._open_saver = open_saver
        self._announce = announce
        self._store = store

    async def get(
        self, thread_id: UUID, checkpoint: CheckpointReference | None = None, *, subgraphs: bool = False
    ) -> JsonObject:
        """Return the latest state, or the one at `checkpoint`; with `subgraphs`, tasks hold their graph's state.

        Raises ThreadNotFound, CheckpointNotFound and Invalid.
        """
        config = checkpoint_config(thread_id, checkpoint)
        thread = await self._thread(thread_id)
        if reason := self._why_unavailable(thread.graph_id):
            saver = self._open_saver(self._pool, thread.graph_id)
            state = view_checkpoint(await saver.aget_tuple(config), reason)
        else:
            async with self._open(thread, self._pool, "threads.read") as graph:
                state = view_state(await self._read(thread.graph_id, graph, config, subgraphs=subgraphs))
        wanted = config["configurable"].get("checkpoint_id")
        if wanted and state["checkpoint"] is None:
            raise CheckpointNotFound(thread_id, wanted)
        return state

    async def _read(self, graph_id: str, graph: Graph, config: RunnableConfig, *, subgraphs: bool) -> StateSnapshot:
        try:
            return await graph.aget_state(config, subgraphs=subgraphs)
        except InvalidUpdateError:
            # The tasks' results cannot be taken together, which ended the run: show what they started from.
            saved = await self._open_saver(self._pool, graph_id).aget_tuple(config)
            if saved is None:
                raise
            return await graph.aget_state(saved.config, subgraphs=subgraphs)

    async def history(
        self,
        thread_id: UUID,
        *,
        limit: int = 10,
        before: CheckpointReference | None = None,
        metadata: JsonObject | None = None,
        checkpoint: CheckpointReference | None = None,
    ) -> list[JsonObject]:
        """Return up to `limit` (1 to 1000) states, newest first.

        `before` leaves out that checkpoint and all newer ones, `metadata` those whose own doesn't contain it,
        and `checkpoint` all but that one, or those of other subgraphs. Raises ThreadNotFound and Invalid.
        """
        if not 1 <= limit <= MAX_HISTORY:
            raise Invalid(f"Invalid limit {limit}: it must be between 1 and {MAX_HISTORY}")
        refuse_unstorable(metadata, "metadata")
        config = checkpoint_config(thread_id, checkpoint)
        older = checkpoint_config(thread_id, before) if before else None
        if older and "checkpoint_id" not in older["configurable"]:
            raise Invalid("before must name a checkpoint by its checkpoint_id")
        thread = await self._thread(thread_id)
        if reason := self._why_unavailable(thread.graph_id):
            saver = self._open_saver(self._pool, thread.graph_id)
            listed = saver.alist(config, filter=metadata, before=older, limit=limit)
            return [view_checkpoint(saved, reason) async for saved in listed]
        async with self._open(thread, self._pool, "threads.read") as graph:
            found = graph.aget_state_history(config, filter=metadata, before=older, limit=limit)
            return [view_state(snapshot) async for snapshot in found]

    async def update(
        self,
        thread_id: UUID,
        values: Any,
        *,
        as_node: str | None = None,
        checkpoint: CheckpointReference | None = None,
    ) -> JsonObject:
        """Write `values` to the state as if node `as_node` had; at an older `checkpoint` that is a fork.

        Returns the new checkpoint as {checkpoint, configurable, checkpoint_id}. Raises ThreadNotFound,
        ThreadBusy, CheckpointNotFound, UnknownGraph, Invalid, and InvalidState with LangGraph's own text.
        """
        superstep = [{"values": values, "as_node": as_node}]
        return await self._write(thread_id, checkpoint, [superstep])

    async def create_thread(
        self,
        thread_id: UUID,
        metadata: JsonObject,
        supersteps: Sequence[Mapping[str, Any]],
        ttl: Ttl,
        transaction: Connections | None = None,
    ) -> None:
        """Create a thread whose past is these supersteps, or nothing at all; in `transaction`, if there is one.

        Raises what `bulk_update` does, and ThreadExists.
        """
        updates = _read_supersteps(supersteps)
        thread = _Thread(thread_id, metadata.get("graph_id") or "", {})
        self._check_graph(thread)
        parameters = await permit_creation(thread_id, metadata, ttl, "raise")
        async with (transaction or self._pool).connection() as connection, connection.transaction():
            cursor = await connection.execute(_THREADS["create"], parameters)
            if await cursor.fetchone() is None:
                raise ThreadExists(thread_id)
            async with self._open(thread, connection, "threads.update") as graph:
                await update_state(connection, graph, checkpoint_config(thread_id), updates)
        await self._announce(thread_id)

    async def bulk_update(self, thread_id: UUID, supersteps: Sequence[Mapping[str, Any]]) -> JsonObject:
        """Apply supersteps, `{updates: [{values or command, as_node}]}` each, all of them or none.

        Returns and raises what `update` does.
        """
        return await self._write(thread_id, None, _read_supersteps(supersteps))

    async def _write(
        self, thread_id: UUID, checkpoint: CheckpointReference | None, supersteps: Sequence[Superstep]
    ) -> JsonObject:
        config = checkpoint_config(thread_id, checkpoint)
        thread = await self._thread(thread_id, "update")
        self._check_graph(thread)
        async with (
            self._pool.connection() as connection,
            self._open(thread, connection, "threads.update") as graph,
        ):
            written = await update_state(connection, graph, config, supersteps)
        await self._announce(thread_id)
        shown = view_config(written) or {}
        return {"checkpoint": shown, "configurable": shown, "checkpoint_id": shown["checkpoint_id"]}

    async def _thread(self, thread_id: UUID, action: str = "read") -> _Thread:
        await clear_thread(self._pool, thread_id, action)
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(_Thread)) as cursor,
        ):
            await cursor.execute(_SQL["get_thread"], {"thread_id": thread_id})
            thread = await cursor.fetchone()
        if thread is None:
            raise ThreadNotFound(thread_id)
        (config,) = await vault_of(self._pool).open_json([(thread_place("config", thread_id), thread.config)])
        return thread._replace(config=config)

    def _check_graph(self, thread: _Thread) -> None:
        """Raise InvalidState for a thread without a graph, UnknownGraph for one whose graph is not there."""
        if not thread.graph_id or not isinstance(thread.graph_id, str):
            raise InvalidState(
                f"Thread '{thread.thread_id}' has no assigned graph ID. Run a graph on it first, "
                "or set `graph_id` in its metadata."
            )
        if reason := self._why_unavailable(thread.graph_id):
            raise UnknownGraph(reason)

    def _why_unavailable(self, graph_id: str) -> str | None:
        if not graph_id:
            return "The thread has no graph: no run was made on it, and its metadata has no graph_id."
        if failure := self._registry.errors.get(graph_id):
            return str(failure)
        if graph_id not in self._registry.graph_ids:
            return str(NoSuchGraph(graph_id, self._registry.graph_ids))
        return None

    @asynccontextmanager
    async def _open(
        self, thread: _Thread, connections: Pool | AsyncConnection[Any], kind: AccessContext
    ) -> AsyncIterator[Graph]:
        told = for_graph(with_caller(thread.config.get("configurable") or {}))
        configurable = {**told, "thread_id": str(thread.thread_id)}
        config: RunnableConfig = {**thread.config, "configurable": configurable}  # type: ignore[typeddict-item]  # stored by a run
        async with self._registry.open_graph(
            thread.graph_id,
            checkpointer=None,
            store=self._store,
            config=config,
            context_kind=kind,
            user=current_user(),
        ) as graph:
            # Only now does a factory's graph tell the saver which classes it may construct.
            graph.checkpointer = self._open_saver(connections, thread.graph_id)
            yield graph


def _read_supersteps(supersteps: Sequence[Mapping[str, Any]]) -> list[Superstep]:
    for superstep in supersteps:
        updates = superstep.get("updates") if isinstance(superstep, Mapping) else None
        if not isinstance(updates, list) or not all(isinstance(update, Mapping) for update in updates):
            raise Invalid("a superstep must be {updates: [{values or command, as_node}, ...]}")
    return [superstep["updates"] for superstep in supersteps]
