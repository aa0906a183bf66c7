"""Owns the question which classes a stored value was made of, answered without constructing any of them."""

from collections.abc import Iterable
from importlib import import_module

import ormsgpack
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_METHODS, SAFE_MSGPACK_TYPES

# LangGraph's codes: the first six hold (module, class, content...), a snapshot holds a value.
_OBJECTS = range(6)
_METHOD = 3
_SNAPSHOT = 7
_OPTIONS = ormsgpack.OPT_NON_STR_KEYS


def stored_classes(blob: bytes) -> frozenset[tuple[str, str]]:
    """Return (module, name) of the classes in a value, but for those that LangGraph rebuilds for anybody.

    Raises ValueError for what is no msgpack.
    """
    found: set[tuple[str, str]] = set()

    def note(code: int, data: bytes) -> None:
        if code == _SNAPSHOT:
            ormsgpack.unpackb(data, ext_hook=note, option=_OPTIONS)
        elif code in _OBJECTS:
            module, name, _, *more = ormsgpack.unpackb(data, ext_hook=note, option=_OPTIONS)
            is_method = code == _METHOD and (module, name, *more) in SAFE_MSGPACK_METHODS
            if not is_method and (module, name) not in SAFE_MSGPACK_TYPES:
                found.add((module, name))

    ormsgpack.unpackb(blob, ext_hook=note, option=_OPTIONS)
    return frozenset(found)


def lost_classes(found: Iterable[tuple[str, str]], allowed: frozenset[tuple[str, str]]) -> list[str]:
    """Return those that come back as plain dicts here: not `allowed`, or not to be imported any more."""
    return sorted(f"{module}.{name}" for module, name in found if not _is_there(module, name, allowed))


def _is_there(module: str, name: str, allowed: frozenset[tuple[str, str]]) -> bool:
    if (module, name) not in allowed:
        return False
    try:
        return hasattr(import_module(module), name)
    except Exception:  # whatever the import of a module of the project raises means the same
        return False
