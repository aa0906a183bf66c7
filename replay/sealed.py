"""Owns editing a stored value in place: opened, changed at a path and closed again, with no class constructed.

What LangGraph stores of an object is its module, its class and its content. Sealed keeps all three as they are.
"""

from dataclasses import dataclass
from typing import Any

import ormsgpack

from threadline.runs.errors import Invalid

_OPTIONS = ormsgpack.OPT_NON_STR_KEYS
# LangGraph's codes: constructors, methods and pydantic hold (module, name, content...), a snapshot its value; what
# else there is stays closed.
_OBJECTS = range(6)
_SNAPSHOT = 7
_OPENED = (*_OBJECTS, _SNAPSHOT)


@dataclass(slots=True)
class Sealed:
    """An object as it is stored: the extension's code, and what is in it."""

    code: int
    parts: Any

    def pack(self) -> ormsgpack.Ext:
        """Return what is stored."""
        return ormsgpack.Ext(self.code, pack(self.parts) if self.code in _OPENED else self.parts)


def unpack(blob: bytes) -> Any:
    """Return a stored value, objects in it sealed."""
    return ormsgpack.unpackb(blob, ext_hook=_seal, option=_OPTIONS)


def pack(value: Any) -> bytes:
    """Return the bytes `unpack` was given, but for what was changed."""
    return ormsgpack.packb(value, default=_unseal, option=_OPTIONS | ormsgpack.OPT_PASSTHROUGH_DATACLASS)


def replace(value: Any, path: list[str], new: Any) -> Any:
    """Return `value` with `new` at `path`; keys of objects are names, of lists numbers. Raises Invalid."""
    if not path:
        return new
    name, rest = path[0], path[1:]
    if isinstance(value, Sealed) and value.code == _SNAPSHOT:
        return Sealed(value.code, replace(value.parts, path, new))
    if isinstance(value, Sealed) and value.code in _OBJECTS:
        module, name_of_class, content, *more = value.parts
        return Sealed(value.code, [module, name_of_class, replace(content, path, new), *more])
    if isinstance(value, dict):
        if rest and name not in value:
            raise Invalid(f"there is no {name!r}, only {', '.join(map(str, value)) or 'nothing'}")
        return {**value, name: replace(value.get(name), rest, new)}
    if isinstance(value, list | tuple):
        return [replace(each, rest, new) if place == _index(name, value) else each for place, each in enumerate(value)]
    raise Invalid(f"{name!r} is looked for in {type(value).__name__}, which has no parts")


def _index(name: str, value: list[Any] | tuple[Any, ...]) -> int:
    try:
        index = int(name)
    except ValueError:
        raise Invalid(f"{name!r} is looked for in a list: name an item by its number") from None
    if not -len(value) <= index < len(value):
        raise Invalid(f"there is no item {index}: the list has {len(value)}")
    return index % len(value)


def _seal(code: int, data: bytes) -> Sealed:
    return Sealed(code, unpack(data) if code in _OPENED else data)


def _unseal(value: Any) -> ormsgpack.Ext:
    if isinstance(value, Sealed):
        return value.pack()
    raise TypeError(f"{type(value).__name__} is not what was stored")
