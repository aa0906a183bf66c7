"""Owns assistants: which one a request means, the one the system makes for every graph, and their versions.

What a graph is, and whether it could be imported, is the registry's to know.
"""

from collections.abc import Collection, Iterable, Mapping
from time import monotonic
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.rows import class_row

from threadline.checkpoints.pool import Connections, Pool
from threadline.checkpoints.statements import load_statements
from threadline.graphs.registry import Registry, system_assistant_id
from threadline.runs.callers import permit
from threadline.runs.context import encode_assistant, join_configuration
from threadline.runs.errors import (
    AssistantExists,
    AssistantNotFound,
    AssistantOfSystem,
    Invalid,
    NotFound,
    UnknownGraph,
)
from threadline.runs.metadata import encode_metadata, refuse_unstorable
from threadline.runs.model import Assistant, AssistantVersion, JsonObject

T = TypeVar("T")

_SQL = load_statements("threadline.runs", "assistants.sql")

# One more than the largest page, so that a caller can ask whether there is a next one.
MAX_FOUND = 1001

# Seconds for which a process may go on with a system assistant as it was, once another process changed it.
FRESH = 1.0

AssistantOrder = Literal["assistant_id", "created_at", "updated_at", "name", "graph_id"]
Direction = Literal["asc", "desc"]


class Assistants:
    """The assistants of one database, for the graphs that this process serves.

    System assistants are kept in memory and read again once a second, so a run on a graph costs no query. Any
    other assistant is read when it is asked for: one read by primary key, in exchange for never running with a
    configuration that somebody has changed already.
    """

    def __init__(self, pool: Pool, registry: Registry) -> None:
        self._pool = pool
        self._registry = registry
        self._system: dict[UUID, tuple[float, Assistant]] = {}

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
        now = monotonic()
        self._system = {assistant.assistant_id: (now, assistant) for assistant in await self._read(ids, "{}")}

    async def get(self, assistant_id: UUID | str) -> Assistant:
        """Return the assistant of that id, or the system's assistant of the graph of that name.

        The system's are everybody's, others only those of whom the caller may read them. Raises UnknownGraph for a
        text that is neither a UUID nor the name of a graph that could be imported, and AssistantNotFound.
        """
        wanted = self._resolve(assistant_id)
        now = monotonic()
        granted = "{}"
        if known := self._system.get(wanted):
            if now - known[0] < FRESH:
                return known[1]
            # The others take what is known while this one reads.
            self._system[wanted] = (now, known[1])
        else:
            granted = await permit("assistants", "read", {"assistant_id": wanted, "metadata": {}})
        for assistant in await self._read([wanted], granted):
            self._remember(assistant)
            return assistant
        raise AssistantNotFound(assistant_id)

    async def create(
        self,
        graph_id: str,
        *,
        assistant_id: UUID | None = None,
        name: str = "Untitled",
        description: str | None = None,
        config: JsonObject | None = None,
        context: JsonObject | None = None,
        metadata: JsonObject | None = None,
        if_exists: Literal["raise", "do_nothing"] = "raise",
        transaction: Connections | None = None,
    ) -> Assistant:
        """Make an assistant of a graph, at its version 1, and return it; in `transaction`, if there is one.

        `config["configurable"]` and `context` are two names of one thing: whichever is given becomes both. Raises
        NotFound for a graph that is not served, Invalid for what cannot be stored, and AssistantExists unless
        `if_exists` says to return the assistant of that id as it is.
        """
        assistant_id = assistant_id or uuid4()
        config, context = join_configuration({}, {}, config, context)
        fields: JsonObject = {"graph_id": graph_id, "name": name, "description": description}
        value = fields | {"assistant_id": assistant_id, "config": config, "context": context, "if_exists": if_exists}
        value["metadata"] = dict(metadata or {})
        await permit("assistants", "create", value)
        self._refuse_unknown(graph_id, self._served)
        stored = {key: value[key] for key in ("config", "context", "metadata")}
        async with (transaction or self._pool).connection() as connection:
            made = await _one(connection, "create", encode_assistant(assistant_id, fields | stored))
        if made is None and if_exists == "do_nothing":
            return await self.get(assistant_id)
        if made is None:
            raise AssistantExists(assistant_id)
        return made

    async def patch(self, assistant_id: UUID | str, changes: Mapping[str, Any]) -> Assistant:
        """Make a new version with these fields changed, and return it; metadata is merged, the rest replaced.

        Raises UnknownGraph for a name that is none, AssistantNotFound, NotFound for a graph that is not served,
        and Invalid.
        """
        wanted = self._resolve(assistant_id)
        changes = {**changes, "metadata": dict(changes.get("metadata", {}))}
        granted = await permit("assistants", "update", value := {"assistant_id": wanted, **changes})
        changes["metadata"] = value["metadata"]
        async with self._pool.connection() as connection, connection.transaction():
            current = await _one(connection, "lock", {"assistant_id": wanted, "granted": granted})
            if current is None:
                raise AssistantNotFound(assistant_id)
            self._check_graph(current, changes)
            config, context = join_configuration(
                current.config, current.context, changes.get("config"), changes.get("context")
            )
            fields = {name: changes.get(name, getattr(current, name)) for name in ("graph_id", "name", "description")}
            self._refuse_unknown(fields["graph_id"], self._served)
            stored = {"config": config, "context": context, "metadata": current.metadata | changes["metadata"]}
            changed = await _one(connection, "change", encode_assistant(wanted, fields | stored))
        assert changed is not None
        return self._remember(changed)

    async def set_latest(self, assistant_id: UUID | str, version: int) -> Assistant:
        """Make an earlier version the assistant again, with everything it held, and return it.

        Raises UnknownGraph for a name that is none, AssistantNotFound, and NotFound for an unknown version.
        """
        wanted = self._resolve(assistant_id)
        granted = await permit("assistants", "update", {"assistant_id": wanted, "version": version, "metadata": {}})
        async with self._pool.connection() as connection, connection.transaction():
            if await _one(connection, "lock", {"assistant_id": wanted, "granted": granted}) is None:
                raise AssistantNotFound(assistant_id)
            restored = await _one(connection, "restore", {"assistant_id": wanted, "version": version})
        if restored is None:
            raise NotFound(f"Version {version} not found for assistant {wanted}")
        return self._remember(restored)

    async def versions(
        self, assistant_id: UUID | str, *, metadata: JsonObject | None = None, limit: int = 10, offset: int = 0
    ) -> list[AssistantVersion]:
        """Return the assistant's versions whose metadata contains `metadata`, newest first.

        Raises UnknownGraph for a name that is none, AssistantNotFound, and Invalid.
        """
        assistant = await self.get(assistant_id)
        parameters = {
            "assistant_id": assistant.assistant_id,
            "metadata": encode_metadata(metadata) if metadata else None,
            "limit": limit,
            "offset": offset,
        }
        return await self._fetch("versions", parameters, AssistantVersion)

    async def delete(self, assistant_id: UUID | str) -> UUID:
        """Remove the assistant with its versions, and return its id; its runs go on, its threads stay.

        Raises UnknownGraph for a name that is none, AssistantNotFound, and AssistantOfSystem for the one that a
        served graph is reached by.
        """
        wanted = self._resolve(assistant_id)
        if wanted in self._system:
            raise AssistantOfSystem(f"Assistant {wanted} belongs to its graph: it goes when langgraph.json drops that.")
        granted = await permit("assistants", "delete", {"assistant_id": wanted})
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["delete"], {"assistant_id": wanted, "granted": granted})
            if await cursor.fetchone() is None:
                raise AssistantNotFound(assistant_id)
        return wanted

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
        return await self._fetch("search", parameters, Assistant)

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

    def _remember(self, assistant: Assistant) -> Assistant:
        if assistant.assistant_id in self._system:
            self._system[assistant.assistant_id] = (monotonic(), assistant)
        return assistant

    def _check_graph(self, current: Assistant, changes: Mapping[str, Any]) -> None:
        graph_id = changes.get("graph_id", current.graph_id)
        if graph_id != current.graph_id and current.assistant_id in self._system:
            raise AssistantOfSystem(f"Assistant {current.assistant_id} belongs to graph '{current.graph_id}' for good.")

    def _refuse_unknown(self, graph_id: str, known: Collection[str]) -> None:
        if graph_id not in known:
            raise NotFound(f"Graph '{graph_id}' not found. Expected one of: {sorted(self._served)}")

    async def _read(self, assistant_ids: Iterable[UUID], granted: str) -> list[Assistant]:
        return await self._fetch("get_many", {"assistant_ids": list(assistant_ids), "granted": granted}, Assistant)

    async def _fetch(self, statement: str, parameters: JsonObject, kind: type[T]) -> list[T]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(_SQL[statement], parameters)
            return await cursor.fetchall()

    async def _filters(
        self, metadata: JsonObject | None, graph_id: str | None, name: str | None, *, limit: int, offset: int
    ) -> JsonObject:
        if graph_id is not None:
            self._refuse_unknown(graph_id, self._registry.graph_ids)
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


async def _one(connection: AsyncConnection[Any], statement: str, parameters: Mapping[str, Any]) -> Assistant | None:
    async with connection.cursor(row_factory=class_row(Assistant)) as cursor:
        await cursor.execute(_SQL[statement], parameters)
        return await cursor.fetchone()
