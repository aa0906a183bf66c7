"""Owns the one JSON encoding of states and events; it happens once, in the process that made the value.

Messages, pydantic models, dataclasses, named tuples, sets, dates, UUIDs, bytes and enums become what official
clients expect. A value JSON has no form for raises TypeError naming its class.
"""

import base64
import json
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from math import isfinite
from pathlib import PurePath
from re import Pattern
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from pydantic import BaseModel

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS


def _convert(value: Any) -> Any:
    if isinstance(value, BaseModel):  # as messages are
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if _is_send(value):
        return {"node": value.node, "input": value.arg}
    if isinstance(value, set | frozenset | deque):
        return list(value)
    if isinstance(value, tuple):
        named = getattr(value, "_asdict", None)
        return named() if named else list(value)
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": str(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | PurePath | ZoneInfo | IPv4Address | IPv6Address | timezone):
        return str(value)
    if isinstance(value, Pattern):
        return value.pattern
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")


def _is_send(value: Any) -> bool:
    # Who has not imported LangGraph, such as a command that only reads, has no such value and need not wait for it.
    types = sys.modules.get("langgraph.types")
    return types is not None and isinstance(value, types.Send)


def _plain(value: Any) -> Any:
    """Rebuild `value` from JSON's own types, lone surrogates replaced; the slow path of `encode`."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return value if isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, dict):
        return {str(_plain(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list) or (isinstance(value, tuple) and not hasattr(value, "_asdict")):
        return [_plain(item) for item in value]
    try:
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATACLASS))
    except orjson.JSONEncodeError:
        return _plain(_convert(value))


def encode(value: Any) -> bytes:
    """Return `value` as compact JSON.

    A lone surrogate, which UTF-8 cannot carry, becomes `?`; an integer beyond 64 bits keeps its digits.
    Raises TypeError for a value without a JSON form.
    """
    try:
        return orjson.dumps(value, _convert, _OPTIONS)
    except orjson.JSONEncodeError as error:
        if isinstance(error.__cause__, TypeError):
            raise TypeError(str(error.__cause__)) from error
        try:
            plain = _plain(value)
        except RecursionError as deep:
            raise TypeError("the value contains itself or is nested too deeply for JSON") from deep
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
