"""Owns what metadata may hold, because it is searched as `jsonb`; what it means is its owners' affair."""

import re
from typing import Any

from threadline.runs.encoding import encode
from threadline.runs.errors import Invalid
from threadline.runs.model import JsonObject

# What PostgreSQL has no form for: U+0000, and the halves of a pair that UTF-8 cannot carry alone.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def encode_metadata(metadata: JsonObject, name: str = "metadata") -> str:
    """Return `metadata` as JSON text for a `jsonb` parameter; `name` is what the client calls it.

    Raises Invalid, naming the key, for a text that holds U+0000 or a lone surrogate, and for what has no JSON
    form.
    """
    refuse_unstorable(metadata, name)
    return encode_argument(metadata, name)


def encode_argument(value: Any, name: str) -> str:
    """Return what a client gave as JSON text. Raises Invalid when it has none or is nested too deeply."""
    try:
        return encode(value).decode("utf-8")
    except TypeError as error:
        raise Invalid(f"{name} cannot be taken: {error}") from error


def refuse_unstorable(value: Any, name: str) -> None:
    """Raise Invalid, naming the place, when `value` holds a text that PostgreSQL has no form for."""
    pending: list[tuple[str, Any]] = [(name, value)]
    while pending:
        place, item = pending.pop()
        if isinstance(item, str):
            _check(item, place)
        elif isinstance(item, dict):
            for key in item:
                _check(key, f"a key of {place}")
            pending.extend((f"{place}.{key}", inner) for key, inner in item.items())
        elif isinstance(item, list | tuple):
            pending.extend((f"{place}[{position}]", inner) for position, inner in enumerate(item))


def _check(text: Any, place: str) -> None:
    if isinstance(text, str) and (found := _UNSTORABLE.search(text)):
        shown = _UNSTORABLE.sub("\ufffd", text[:80])
        raise Invalid(f"{place} holds U+{ord(found[0]):04X}, which cannot be stored: remove it from {shown!r}")
