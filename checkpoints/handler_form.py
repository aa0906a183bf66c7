"""Owns how values look that handlers of the project sealed: what they made, beside the context they made it in.

The context is plain, so that handlers can be told whose value it is. Calling them is `handler_vault`'s.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from typing import Any

from threadline.checkpoints.aes_vault import SEALED
from threadline.checkpoints.keyring import make_header

HANDLERS = "@handlers"  # stands where the id of a key is; no key can have it
CONTEXT = "__encryption_context__"  # as LangGraph Server calls what it keeps beside what it encrypted
CONTENT = "content"  # what a handler for JSON made; as long as SEALED, which stays the first key in a `jsonb`
SUFFIX = "+handlers"  # behind the form of a sealed value
HEADER = make_header(HANDLERS)
_LENGTH_BYTES = 4

Context = Mapping[str, Any]


def pack(context: Context, data: bytes) -> bytes:
    """Return what is stored of bytes that a handler made."""
    told = json.dumps(context, separators=(",", ":")).encode()
    return b"".join((HEADER, len(told).to_bytes(_LENGTH_BYTES, "big"), told, data))


def unpack(stored: bytes) -> tuple[Context, bytes] | None:
    """Return the context and what the handler made; None for what is no such value."""
    start = len(HEADER) + _LENGTH_BYTES
    if not stored.startswith(HEADER) or len(stored) < start:
        return None
    end = start + int.from_bytes(stored[len(HEADER) : start], "big")
    try:
        context = json.loads(stored[start:end])
    except ValueError:
        return None
    return (context, stored[end:]) if isinstance(context, dict) else None


def wrap(context: Context, data: bytes | None, content: Any = None) -> str:
    """Return what is stored, as JSON text, of bytes that a handler made, or else of the content one made."""
    value: dict[str, Any] = {SEALED: f"{HANDLERS}:{b64encode(data or b'').decode()}"}
    if data is None:
        value[CONTENT] = content
    return json.dumps(value | {CONTEXT: context}, separators=(",", ":"))


def unwrap(value: Any) -> tuple[Context, bytes | None, Any] | None:
    """Return the context and what a handler made, as bytes or as content; None for what is no such value."""
    if not isinstance(value, dict) or not isinstance(value.get(CONTEXT), dict):
        return None
    if not str(value.get(SEALED)).startswith(f"{HANDLERS}:"):
        return None
    if value.keys() == {SEALED, CONTENT, CONTEXT}:
        return value[CONTEXT], None, value[CONTENT]
    try:
        data = b64decode(value[SEALED].removeprefix(f"{HANDLERS}:"), validate=True)
    except (Error, ValueError):
        return None
    return value[CONTEXT], data, None


def read_context(*stored: Any) -> Context | None:
    """Return the context of the first of these stored values that has one: bytes, or JSON as text or as read."""
    for value in stored:
        if isinstance(value, str):
            value = json.loads(value) if f'"{CONTEXT}"' in value else None
        found: Any = unpack(bytes(value)) if isinstance(value, bytes | memoryview) else unwrap(value)
        if found is not None:
            context: Context = found[0]
            return context
    return None
