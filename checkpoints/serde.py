"""Owns how checkpoint values become bytes: LangGraph's msgpack, strictly, and never pickle.

A class outside LangGraph's built-in list and the graph's own schemas is not constructed when it is read.
"""

from collections.abc import Iterable

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer


def make_serializer(allowed: Iterable[tuple[str, ...]] = ()) -> JsonPlusSerializer:
    """Return a serializer that constructs LangGraph's safe types and `allowed`, (module, class name) pairs."""
    return JsonPlusSerializer(
        pickle_fallback=False,
        allowed_json_modules=None,
        allowed_msgpack_modules=tuple(allowed) or None,
    )
