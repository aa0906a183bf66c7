"""Owns assistants: which one a request means, and the one the system makes for every graph.

What a graph is, and whether it could be imported, is the registry's to know.
"""

from collections.abc import Iterable
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.graphs.registry import Registry, system_assistant_id
from threadline.runs.callers import permit
from threadline.runs.errors import AssistantNotFound, Invalid, NotFound, UnknownGraph
from threadline.runs.metadata import encode_metadata, refuse_unstorable
from threadline.runs.model import Assistant, JsonObject

_SQL = load_statements("threadline.runs", "assistants.sql")

# One more than the largest page, so that a caller can ask whether there is a next one.
MAX_FOUND = 1001

AssistantOrder = Literal["assistant_id", "created_at", "updated_at", "name", "graph_id"]
Direction = Literal["asc", "desc"]


class Assistants:
    """The assistants of one database, for the graphs that this process serves.

    System assistants are kept in memory from the start on, so a run on a graph costs no query. Any other
    assistant is read when it is asked for: one read by primary key, in exchange for never running with a
    configuration that somebody has changed already.
    """

    def __init__(self, pool: Pool, registry: Registry) -> None:
        self._pool = pool
        self._registry = registry
        self._system: dict[UUID, Assistant] = {}

    async def sync_system(self) -> None:
        """Make or refresh the assistant of every graph that could be imported, and keep them in memory.

        Safe when several processes start at once.
        """
        ids = {system_assistant_id(graph_id): graph_id for graph_id in self._served}
        parameters = {
            "assistant_ids": list(ids),
            "graph_ids": list(ids.values()),
            "descriptions": [self._registry.description(graph_id) for graph_id in ids.values()],
        }
        async with self._pool.connection() as connection:
            await connection.execute(_SQL["sync"], parameters)
        self._system = {assistant.assistant_id: assistant for assistant in await self._read(ids, "{}")}

    async def get(self, assistant_id: UUID | str) -> Assistant:
        """Return the assistant of that id, or the system's assistant of the graph of that name.

        The system's are everybody's, others only those of whom the caller may read them. Raises UnknownGraph for a
        text that is neither a UUID nor the name of a graph that could be imported, and AssistantNotFound.
        """
        wanted = self._resolve(assistant_id)
        if assistant := self._system.get(wanted):
            return assistant
        granted = await permit("assistants", "read", {"assistant_id": wanted, "metadata": {}})
        for assistant in await self._read([wanted], granted):
            return assistant
        raise AssistantNotFound(assistant_id)

    async def search(
        self,
        *,
        metadata: JsonObject | None = None,
        graph_id: str | None = None,
        name: str | None = None,
        limit: int = 10,
        offset: int = 0,
        sort_by: AssistantOrder = "created_at",
        sort_order: Direction = "desc",
    ) -> list[Assistant]:
        """Return the assistants whose metadata contains `metadata` and whose name contains `name` in any case.

        `limit` is 1 to 1001: a page of at most 1000 and one more to see whether another follows. Raises
        Invalid, and NotFound for a graph that langgraph.json does not name.
        """
        if not 1 <= limit <= MAX_FOUND:
            raise Invalid(f"limit must be between 1 and {MAX_FOUND - 1}, not {limit}")
        if offset < 0:
            raise Invalid(f"offset must not be negative, but is {offset}")
        parameters = await self._filters(metadata, graph_id, name, limit=limit, offset=offset) | {
            "order": f"{sort_by} {sort_order}",
            "limit": limit,
            "offset": offset,
        }
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(Assistant)) as cursor,
        ):
            await cursor.execute(_SQL["search"], parameters)
            return await cursor.fetchall()

    async def count(
        self, *, metadata: JsonObject | None = None, graph_id: str | None = None, name: str | None = None
    ) -> int:
        """Return how many assistants `search` finds without a limit. Raises what it raises."""
        parameters = await self._filters(metadata, graph_id, name, limit=MAX_FOUND, offset=0)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["count"], parameters)
            row = await cursor.fetchone()
        return int(row[0]) if row else 0

    @property
    def _served(self) -> list[str]:
        """The graphs that could be imported."""
        return [graph_id for graph_id in self._registry.graph_ids if graph_id not in self._registry.errors]

    def _resolve(self, assistant_id: UUID | str) -> UUID:
        if isinstance(assistant_id, UUID):
            return assistant_id
        if failure := self._registry.errors.get(assistant_id):
            raise UnknownGraph(str(failure))
        if assistant_id in self._registry.graph_ids:
            return system_assistant_id(assistant_id)
        try:
            return UUID(assistant_id)
        except ValueError:
            raise UnknownGraph(
                f"Invalid assistant: '{assistant_id}'. Must be either:\n- A valid assistant UUID, or\n"
                f"- One of the registered graphs: {', '.join(self._served)}"
            ) from None

    async def _read(self, assistant_ids: Iterable[UUID], granted: str) -> list[Assistant]:
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(Assistant)) as cursor,
        ):
            await cursor.execute(_SQL["get_many"], {"assistant_ids": list(assistant_ids), "granted": granted})
            return await cursor.fetchall()

    async def _filters(
        self, metadata: JsonObject | None, graph_id: str | None, name: str | None, *, limit: int, offset: int
    ) -> JsonObject:
        if graph_id is not None and graph_id not in self._registry.graph_ids:
            raise NotFound(f"Graph '{graph_id}' not found")
        refuse_unstorable(name, "name")
        value: JsonObject = {"graph_id": graph_id, "metadata": metadata or {}, "limit": limit, "offset": offset}
        granted = await permit("assistants", "search", value)
        return {
            "metadata": encode_metadata(value["metadata"]) if value["metadata"] else None,
            "graph_id": graph_id,
            "name": name or None,
            "served": self._served,
            "granted": granted,
        }
