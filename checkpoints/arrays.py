"""Owns the binary form of array parameters: the group commit sends dozens per flush, and generic code is slow at it.

The format is PostgreSQL's own (`array_recv`): dimensions, a flag for nulls, the element type, then each element
behind its length. A plain list goes through psycopg as ever.
"""

from collections.abc import Sequence
from struct import Struct, pack
from typing import Any, ClassVar
from uuid import UUID

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = Struct(">iiIii")
_pack_length = Struct(">i").pack
_pack_integer = Struct(">ii").pack
_NULL = b"\xff\xff\xff\xff"
# Almost all integers that are sent count something small: their elements are made once.
_SMALL = [_pack_integer(4, number) for number in range(256)]


class Array:
    """A parameter that is sent as a one-dimensional array; subclasses fix the type of its elements."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


class UuidArray(Array):
    """uuid[], no nulls."""


class TextArray(Array):
    """text[], None is null."""


class ByteaArray(Array):
    """bytea[], None is null."""


class IntegerArray(Array):
    """integer[], no nulls."""


class BooleanArray(Array):
    """boolean[], no nulls."""


class FloatArray(Array):
    """double precision[], no nulls."""


class _ArrayDumper(Dumper):
    format = Format.BINARY
    element_oid: ClassVar[int]
    empty: ClassVar[bytes]

    def __init_subclass__(cls) -> None:
        cls.empty = pack(">iiI", 0, 0, cls.element_oid)

    def dump(self, obj: Array) -> bytes:
        values = obj.values
        if not values:
            return self.empty
        header = _HEADER.pack(1, int(None in values), self.element_oid, len(values), 1)
        return header + self.pack_elements(values)

    def pack_elements(self, values: Sequence[Any]) -> bytes:
        raise NotImplementedError


class _UuidDumper(_ArrayDumper):
    oid = 2951
    element_oid = 2950

    def pack_elements(self, values: Sequence[UUID]) -> bytes:
        length = _pack_length(16)
        return length + length.join([value.bytes for value in values])


class _TextDumper(_ArrayDumper):
    oid = 1009
    element_oid = 25

    def pack_elements(self, values: Sequence[str | None]) -> bytes:
        return _pack_variable([None if value is None else value.encode() for value in values])


class _ByteaDumper(_ArrayDumper):
    oid = 1001
    element_oid = 17

    def pack_elements(self, values: Sequence[bytes | None]) -> bytes:
        return _pack_variable(values)


class _IntegerDumper(_ArrayDumper):
    oid = 1007
    element_oid = 23

    def pack_elements(self, values: Sequence[int]) -> bytes:
        return b"".join([_SMALL[value] if 0 <= value < 256 else _pack_integer(4, value) for value in values])


class _BooleanDumper(_ArrayDumper):
    oid = 1000
    element_oid = 16

    def pack_elements(self, values: Sequence[bool]) -> bytes:
        return b"".join([b"\0\0\0\1\1" if value else b"\0\0\0\1\0" for value in values])


class _FloatDumper(_ArrayDumper):
    oid = 1022
    element_oid = 701

    def pack_elements(self, values: Sequence[float]) -> bytes:
        return pack(f">{'id' * len(values)}", *[part for value in values for part in (8, value)])


_DUMPERS: dict[type[Array], type[_ArrayDumper]] = {
    UuidArray: _UuidDumper,
    TextArray: _TextDumper,
    ByteaArray: _ByteaDumper,
    IntegerArray: _IntegerDumper,
    BooleanArray: _BooleanDumper,
    FloatArray: _FloatDumper,
}


def _pack_variable(values: Sequence[bytes | None]) -> bytes:
    if None in values:
        return b"".join([_NULL if value is None else _pack_length(len(value)) + value for value in values])
    return b"".join([part for value in values if value is not None for part in (_pack_length(len(value)), value)])


def register_arrays(context: AdaptContext) -> None:
    """Teach a connection these parameter types."""
    adapters = context.adapters
    if adapters is None:
        raise TypeError(f"{context!r} has no adapters to register with")
    for array, dumper in _DUMPERS.items():
        adapters.register_dumper(array, dumper)
