"""Owns an input to try a graph with, made from what the graph says that it takes; running it is left to the reader."""

import logging
from contextlib import nullcontext
from typing import Any

from threadline.graphs.registry import Registry

logger = logging.getLogger("threadline.process")

QUESTION = "What is 12 * 31?"
CONVERSATION = {"messages": [{"role": "user", "content": QUESTION}]}
_EXAMPLES: dict[str, Any] = {"string": "hello", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}


def example_input(registry: Registry, graph_id: str) -> Any:
    """Return an input that the graph may take: a conversation, or a value for each of its fields."""
    try:
        opened = registry.open_graph(graph_id, checkpointer=None, store=None, config={}, context_kind="assistants.read")
        # A graph that is made for each run is not made for this: that may cost anything.
        schema = opened.enter_result.get_input_jsonschema() if isinstance(opened, nullcontext) else {}
    except Exception as error:  # a graph whose types have no JSON form can run all the same
        logger.debug("graph.no_schema", extra={"graph_id": graph_id, "error": repr(error)})
        schema = {}
    fields = schema.get("properties") or {}
    if "messages" in fields or not fields:
        return CONVERSATION
    return {name: _EXAMPLES.get(field.get("type", "")) for name, field in fields.items()}
