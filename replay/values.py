"""Owns how stored values read without their graph: as JSON, with no class of a user's constructed.

What is read is what the API shows, except that a value of an unknown class is the plain data it was stored as.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from threadline.checkpoints.serde import make_serializer
from threadline.runs.encoding import encode
from threadline.runs.state_view import visible_values

_serializer = make_serializer()


def read_values(inline: Mapping[str, Any] | None, blobs: Iterable[tuple[str, str, bytes | None]]) -> Any:
    """Return the state's own values, as JSON; `blobs` are (channel, type, bytes)."""
    channels: dict[str, Any] = dict(inline or {})
    for channel, kind, blob in blobs:
        if kind != "empty":
            channels[channel] = read_blob(kind, blob)
    return to_json(visible_values(channels))


def read_blob(kind: str, blob: bytes | None) -> Any:
    """Return the value of one blob; what cannot be read is described instead."""
    try:
        value = _serializer.loads_typed((kind, bytes(blob or b"")))
    except Exception as error:  # whatever other serialisers and their classes make of these bytes
        return {"unreadable": kind, "bytes": len(blob or b""), "error": f"{type(error).__name__}: {error}"}
    return value.value if isinstance(value, _DeltaSnapshot) else value


def to_json(value: Any) -> Any:
    """Return `value` as JSON's own types; one without a JSON form is shown as text."""
    try:
        return orjson.loads(encode(value))
    except (TypeError, orjson.JSONDecodeError):
        if isinstance(value, dict):
            return {str(key): to_json(item) for key, item in value.items()}
        return repr(value)
