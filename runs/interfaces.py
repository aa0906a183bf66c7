"""Owns what goes into a graph and what comes out of it, as JSON schemas for programs that call it by them."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore

from threadline.graphs.errors import UnknownGraph as NoSuchGraph
from threadline.graphs.registry import Registry
from threadline.runs.callers import current_user
from threadline.runs.errors import UnknownGraph
from threadline.runs.model import Assistant, JsonObject

logger = logging.getLogger("threadline.interfaces")

KEPT = 1000

Graph = Pregel[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Interface:
    """The schemas of a graph's input and output. Where types have none, at least the names of the fields."""

    input: JsonObject
    output: JsonObject


class Interfaces:
    """The interfaces of the assistants of a registry. They are kept: it takes milliseconds to find one out."""

    def __init__(self, registry: Registry, store: BaseStore) -> None:
        self._registry = registry
        self._store = store
        self._known: OrderedDict[object, Interface] = OrderedDict()

    async def of(self, assistant: Assistant) -> Interface:
        """Return the interface of the assistant's graph. Raises UnknownGraph, and what a factory raises."""
        key = (
            assistant.assistant_id,
            assistant.updated_at,
            self._registry.stamp(assistant.graph_id).get("topology_hash"),
        )
        found = self._known.get(key) or await self._read(assistant)
        if key[-1] is not None:
            self._known[key] = found
            self._known.move_to_end(key)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    async def _read(self, assistant: Assistant) -> Interface:
        config: RunnableConfig = assistant.config  # type: ignore[assignment]  # JSON that a client wrote
        try:
            opening = self._registry.open_graph(
                assistant.graph_id,
                checkpointer=None,
                store=self._store,
                config=config,
                context_kind="assistants.read",
                user=current_user(),
            )
        except NoSuchGraph as error:
            raise UnknownGraph(str(error)) from None
        async with opening as graph:
            return await asyncio.to_thread(_read, graph)


def _read(graph: Graph) -> Interface:
    return Interface(
        _schema(graph.get_input_jsonschema, lambda: _input_names(graph)),
        _schema(graph.get_output_jsonschema, lambda: _names(graph.output_channels)),
    )


def _schema(make: Callable[[], JsonObject], names: Callable[[], Iterable[str]]) -> JsonObject:
    try:
        return make()
    except Exception as error:  # pydantic raises many kinds, and so may a type's own hooks
        logger.info("interface.no_schema", extra={"error": str(error)})
        return {"type": "object", "properties": {name: {} for name in names()}}


def _input_names(graph: Graph) -> Iterable[str]:
    if isinstance(graph, CompiledStateGraph):
        return list(graph.builder.schemas.get(graph.builder.input_schema, {}))
    return _names(graph.input_channels)


def _names(channels: str | Iterable[str]) -> list[str]:
    return [channels] if isinstance(channels, str) else list(channels)
