"""Owns the loading of named SQL; what the statements mean is said in the `.sql` files themselves."""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any, LiteralString, NamedTuple, cast

_PARAMETER = re.compile(r"%\((?P<name>\w+)\)[sb]|%%")
_HEADER = re.compile(r"^-- name: (?P<name>[a-z0-9_]+)\s*$", re.MULTILINE)


def load_statements(package: str, file: str) -> Mapping[str, LiteralString]:
    """Read `file` of `package` and return its statements by name.

    A statement starts at a line `-- name: <name>` and ends at the next one. The text is shipped with the
    package and never built from input, which is what makes the cast to `LiteralString` true.

    Raises ValueError when a name appears twice.
    """
    text = files(package).joinpath(file).read_text("utf-8")
    parts = _HEADER.split(text)[1:]
    statements: dict[str, LiteralString] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"{package}/{file} has two statements named {name!r}")
        statements[name] = cast("LiteralString", body.strip())
    return MappingProxyType(statements)


class Positional(NamedTuple):
    """A statement in the server's own form: `$1`... in place of names. It needs no parsing on every call.

    It is bytes because psycopg looks prepared statements up by them, and would encode a text anew for that.
    """

    text: bytes
    names: tuple[str, ...]

    def bind(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the values in the statement's order."""
        return [parameters[name] for name in self.names]


def make_positional(statement: LiteralString) -> Positional:
    """Turn `%(name)s` into `$n`; psycopg does it anew for every call of a statement over 4,096 characters."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        return f"${names.setdefault(match['name'], len(names) + 1)}"

    return Positional(_PARAMETER.sub(number, statement).encode(), tuple(names))
