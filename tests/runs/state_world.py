"""Owns a small world for tests of states: threads, the graphs that run on them, and who is told of changes."""

import contextlib
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import InvalidUpdateError

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.serde import make_serializer
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.encoding import encode
from threadline.runs.model import JsonObject, LogRow
from threadline.runs.states import States
from threadline.runs.threads import Threads

GRAPHS = Path(__file__).with_name("state_graphs.py")
NAMES = ("steps", "nested", "jumping", "hanging", "chat", "clashing", "make_report")


class World:
    """A database with threads and the graphs that run on them."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.registry = self.serve()
        self.threads = Threads(pool)
        self.announced: list[UUID] = []
        self.states = self.states_of(self.registry)

    def serve(self, graphs: JsonObject | None = None) -> Registry:
        """Serve these graphs; without any, all that are here."""
        file = self.folder / "langgraph.json"
        file.write_text(json.dumps({"graphs": graphs or {name: f"{GRAPHS}:{name}" for name in NAMES}}))
        return Registry(load_configuration(file))

    def states_of(self, registry: Registry) -> States:
        def open_saver(connections: Any, graph_id: str) -> BaseCheckpointSaver[Any]:
            known = graph_id in registry.graph_ids and graph_id not in registry.errors
            allowed = registry.schema_allowlist(graph_id) if known else ()
            return ThreadSaver(connections, serde=make_serializer(allowed))

        return States(self.pool, registry, open_saver, self.announce)

    async def announce(self, thread_id: UUID) -> None:
        """Note who would be told, and that everybody can see the news by then."""
        assert await self.rows("select from run_events where thread_id = %s", thread_id)
        self.announced.append(thread_id)

    async def rows(self, statement: str, *parameters: Any) -> list[Any]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall() if cursor.description is not None else []

    async def start(self, graph_id: str = "steps", **values: Any) -> UUID:
        """Make a thread of that graph and run it with these values, if there are any."""
        thread = await self.threads.create(metadata={"graph_id": graph_id})
        if values:
            await self.run(thread.thread_id, values, graph_id)
        return thread.thread_id

    async def run(self, thread_id: UUID, values: JsonObject, graph_id: str = "steps") -> None:
        async with self.registry.open_graph(
            graph_id,
            checkpointer=ThreadSaver(self.pool),
            store=None,
            config=config_of(thread_id),
            context_kind="threads.create_run",
        ) as graph:
            expected = [ValueError, InvalidUpdateError] if values.get("mode") == "fail" else []
            with contextlib.suppress(*expected):
                await graph.ainvoke(values, config_of(thread_id))

    async def events(self, thread_id: UUID) -> list[LogRow]:
        columns = "thread_id, first_seq, last_seq, run_id, contents, payload"
        rows = await self.rows(f"select {columns} from run_events where thread_id = %s order by 3", thread_id)
        return [LogRow(*row) for row in rows]

    async def head(self, thread_id: UUID) -> Any:
        columns = "epoch, last_seq, has_checkpoint"
        [head] = await self.rows(f"select {columns} from thread_heads where thread_id = %s", thread_id)
        return head

    async def trace(self, thread_id: UUID) -> list[Any]:
        """Everything an update may touch."""
        checkpoints = "select checkpoint_id from checkpoints where thread_id = %s order by 1"
        return [
            await self.head(thread_id),
            await self.events(thread_id),
            await self.rows(checkpoints, str(thread_id)),
            await self.threads.get(thread_id),
        ]


def config_of(thread_id: UUID) -> Any:
    return {"configurable": {"thread_id": str(thread_id)}, "recursion_limit": 7}


def as_json(value: Any) -> Any:
    return orjson.loads(encode(value))
