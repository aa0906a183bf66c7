"""Owns how graphs look from outside, without running them: their drawing, their schemas, their subgraphs."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NotRequired, Required, TypeVar, get_args, get_origin

from langchain_core.runnables import RunnableConfig
from langgraph._internal._pydantic import create_model
from langgraph.channels.base import BaseChannel
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from pydantic import TypeAdapter
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from threadline.graphs.registry import Registry
from threadline.runs.callers import current_user, for_graph, with_caller
from threadline.runs.errors import UnknownGraph
from threadline.runs.model import Assistant, JsonObject

logger = logging.getLogger("threadline.blueprints")

T = TypeVar("T")
Graph = Pregel[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Blueprints:
    """The graphs of a registry as an assistant shows them; a factory makes its graph with the assistant's config."""

    registry: Registry
    store: BaseStore

    async def draw(self, assistant: Assistant, xray: bool | int = False) -> JsonObject:
        """Return {nodes, edges}; subgraphs are drawn into it with `xray`, down to that depth if it is a number.

        Raises UnknownGraph.
        """
        async with self._open(assistant) as graph:
            drawing = await asyncio.to_thread(graph.get_graph, None, xray=xray)
        shown = drawing.to_json()
        for node in shown["nodes"]:
            data = node.get("data")
            if isinstance(data, dict):
                # The id would be the path of the class that implements the node.
                data.pop("id", None)
        return shown

    async def schemas(self, assistant: Assistant) -> JsonObject:
        """Return the JSON schemas of the graph; null for one that cannot be told. Raises UnknownGraph."""
        async with self._open(assistant) as graph:
            return {"graph_id": assistant.graph_id, **await asyncio.to_thread(read_schemas, graph)}

    async def subgraphs(
        self, assistant: Assistant, namespace: str | None = None, *, recurse: bool = False
    ) -> dict[str, JsonObject]:
        """Return the schemas of the graph's subgraphs by their place in it, of the one at `namespace` if given.

        Raises UnknownGraph.
        """
        async with self._open(assistant) as graph:
            found = [each async for each in graph.aget_subgraphs(namespace=namespace, recurse=recurse)]
            return await asyncio.to_thread(_read_all, found)

    @asynccontextmanager
    async def _open(self, assistant: Assistant) -> AsyncIterator[Graph]:
        graph_id = assistant.graph_id
        if graph_id not in self.registry.graph_ids or graph_id in self.registry.errors:
            reason = self.registry.errors.get(graph_id) or f"Graph '{graph_id}' is not in langgraph.json"
            raise UnknownGraph(str(reason))
        told = for_graph(with_caller({**(assistant.config.get("configurable") or {}), **assistant.context}))
        config: RunnableConfig = {**assistant.config, "configurable": told}  # type: ignore[typeddict-item]  # a client's
        async with self.registry.open_graph(
            graph_id,
            checkpointer=None,
            store=self.store,
            config=config,
            context_kind="assistants.read",
            user=current_user(),
        ) as graph:
            yield graph


def read_schemas(graph: Graph) -> JsonObject:
    """Return the graph's JSON schemas by the names that clients know them by."""
    builder = getattr(graph, "builder", None)
    context = _describe(graph.get_context_jsonschema, graph.context_schema, "context_schema")
    return {
        "input_schema": _describe(graph.get_input_jsonschema, getattr(builder, "input_schema", None), "input_schema"),
        "output_schema": _describe(
            graph.get_output_jsonschema, getattr(builder, "output_schema", None), "output_schema"
        ),
        "state_schema": _try(lambda: _state_schema(graph), "state_schema"),
        "config_schema": context or {},
        "context_schema": context,
    }


def _read_all(found: list[tuple[str, Any]]) -> dict[str, JsonObject]:
    return {namespace: read_schemas(graph) for namespace, graph in found}


def _state_schema(graph: Graph) -> JsonObject:
    name, channels = graph.get_name("State"), graph.stream_channels_asis
    if isinstance(channels, str):
        return create_model(name, root=(_value_type(graph, channels), None)).model_json_schema()
    fields = {channel: (_value_type(graph, channel), None) for channel in channels}
    return create_model(name, field_definitions=fields).model_json_schema()


def _value_type(graph: Graph, name: str) -> Any:
    channel = graph.channels[name]
    return channel.ValueType if isinstance(channel, BaseChannel) else Any


def _describe(make: Callable[[], T], kind: Any, what: str) -> T | JsonObject | None:
    """Ask LangGraph; it cannot tell a `typing.TypedDict` on a Python before 3.12, which we can."""
    if sys.version_info < (3, 12) and is_typeddict(kind):
        return _try(lambda: TypeAdapter(_rebuild(kind)).json_schema(), what)
    return _try(make, what)


def _rebuild(kind: Any) -> Any:
    """Return the same typed dictionary as one of `typing_extensions`, which pydantic reads on every Python."""
    hints = {name: _bare(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
    marked = {name: Required[h] if name in kind.__required_keys__ else NotRequired[h] for name, h in hints.items()}
    rebuilt: Any = TypedDict(kind.__name__, marked)  # type: ignore[misc]  # made of what is known while it runs
    rebuilt.__doc__ = kind.__doc__
    return rebuilt


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint


def _try(make: Callable[[], T], what: str) -> T | None:
    """A type that JSON has no schema for concerns that one schema."""
    try:
        return make()
    except Exception as error:  # pydantic raises many kinds, and so may a type's own hooks
        logger.info("blueprint.no_schema", extra={"schema": what, "error": str(error)})
        return None
