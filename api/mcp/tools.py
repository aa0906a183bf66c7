"""Owns how an assistant looks as a tool: its name, which no other tool has, and the schemas of what goes in and out.

Calling it is `calls`' business.
"""

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

from mcp.types import Tool, ToolAnnotations

from threadline.api.conversation import MESSAGES
from threadline.runs.engine import Engine
from threadline.runs.interfaces import Interface, Interfaces
from threadline.runs.model import Assistant, JsonObject

logger = logging.getLogger("threadline.mcp")

MAX_NAME = 64  # what models' own tool interfaces take
PAGE = 1000

_ANNOTATIONS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
)
_MESSAGE_INPUT = {
    "type": "string",
    "title": "Messages",
    "description": "What to say to the assistant, as the user's message.",
}
_MESSAGE_OUTPUT = {
    "type": "array",
    "title": "Messages",
    "description": "The conversation; the last message is the answer.",
    "items": {"type": "object"},
}
_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]+")


class Toolbox:
    """The tools of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._interfaces = Interfaces(engine.registry, engine.store)

    async def tools(self) -> AsyncIterator[Tool]:
        """Yield all tools; an assistant whose graph cannot be made has none."""
        async for name, assistant in self._named():
            try:
                yield await self._describe(name, assistant)
            except Exception as error:  # whatever a foreign graph raises concerns that graph alone
                facts = {"assistant_id": str(assistant.assistant_id), "error": repr(error)}
                logger.warning("mcp.tool_left_out", extra=facts)

    async def find(self, name: str) -> tuple[Tool, Assistant] | None:
        """Return the tool of that name with its assistant. Raises UnknownGraph."""
        if name in self._engine.registry.graph_ids and name not in self._engine.registry.errors:
            assistant = await self._engine.assistants.get(name)
            if assistant.name == name:
                return await self._describe(name, assistant), assistant
        async for found, assistant in self._named():
            if found == name:
                return await self._describe(name, assistant), assistant
        return None

    async def _named(self) -> AsyncIterator[tuple[str, Assistant]]:
        """Yield each assistant with the name of its tool, oldest first.

        That is the assistant's name; of several with the same the oldest keeps it, and the others carry a part of
        their id.
        """
        graph_ids = self._engine.registry.graph_ids
        taken = {_plain(graph_id) for graph_id in graph_ids}
        offset = 0
        while True:
            found = await self._engine.assistants.search(
                limit=PAGE, offset=offset, sort_by="created_at", sort_order="asc"
            )
            for assistant in found:
                name = _name(assistant, graph_ids, taken)
                taken.add(name)
                yield name, assistant
            if len(found) < PAGE:
                return
            offset += PAGE

    async def _describe(self, name: str, assistant: Assistant) -> Tool:
        return _tool(name, assistant, await self._interfaces.of(assistant))


def _tool(name: str, assistant: Assistant, interface: Interface) -> Tool:
    return Tool(
        name=name,
        title=assistant.name,
        description=assistant.description or f"Tool based on the {assistant.name} assistant",
        input_schema=input_schema(interface.input),
        output_schema=output_schema(interface.output),
        annotations=_ANNOTATIONS,
        _meta={"assistant_id": str(assistant.assistant_id), "graph_id": assistant.graph_id},
    )


def input_schema(schema: JsonObject) -> JsonObject:
    """Return what a model is told to send: the graph's input, with the messages as one text."""
    return _simplified(schema, _MESSAGE_INPUT) or {"type": "object"}


def output_schema(schema: JsonObject) -> JsonObject | None:
    """Return what comes back, None where that is no object.

    Nothing in it is required: a run that stops at a question has not written everything.
    """
    simplified = _simplified(schema, _MESSAGE_OUTPUT)
    return None if simplified is None else {key: part for key, part in simplified.items() if key != "required"}


def _simplified(schema: JsonObject, messages: JsonObject) -> JsonObject | None:
    if schema.get("type") != "object":
        return None
    properties = dict(schema.get("properties") or {})
    if MESSAGES in properties:
        properties[MESSAGES] = messages
    simplified = {**schema, "properties": properties}
    definitions = simplified.pop("$defs", {})
    if used := _used(simplified, definitions):
        simplified["$defs"] = used
    return simplified


def _used(schema: Any, definitions: JsonObject) -> JsonObject:
    """Return those definitions that the schema still refers to: LangChain's messages are most of their length."""
    used: JsonObject = {}
    waiting = [schema]
    while waiting:
        for name in _references(waiting.pop()):
            if name in definitions and name not in used:
                used[name] = definitions[name]
                waiting.append(definitions[name])
    return used


def _references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {str(part["$ref"]).rpartition("/")[2]} if "$ref" in part else set()
        return own.union(*(_references(each) for each in part.values()))
    return set().union(*(_references(each) for each in part)) if isinstance(part, list) else set()


def _name(assistant: Assistant, graph_ids: tuple[str, ...], taken: set[str]) -> str:
    name = _plain(assistant.name) or _plain(assistant.graph_id)
    if assistant.metadata.get("created_by") == "system" and assistant.name in graph_ids:
        return name
    return name if name not in taken else f"{name[: MAX_NAME - 9]}-{assistant.assistant_id.hex[:8]}"


def _plain(name: str) -> str:
    return _OTHER_CHARACTERS.sub("_", name)[:MAX_NAME].strip("_")
