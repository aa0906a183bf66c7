"""Owns how graphs look from outside, without running them: their drawing, their schemas, their subgraphs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph._internal._pydantic import create_model
from langgraph.channels.base import BaseChannel
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore

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
        told = for_graph(with_caller(assistant.config.get("configurable") or {}))
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
    context = _try(graph.get_context_jsonschema, "context_schema")
    return {
        "input_schema": _try(graph.get_input_jsonschema, "input_schema"),
        "output_schema": _try(graph.get_output_jsonschema, "output_schema"),
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


def _try(make: Callable[[], T], what: str) -> T | None:
    """A type that JSON has no schema for concerns that one schema."""
    try:
        return make()
    except Exception as error:  # pydantic raises many kinds, and so may a type's own hooks
        logger.info("blueprint.no_schema", extra={"schema": what, "error": str(error)})
        return None
