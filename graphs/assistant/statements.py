"""Owns the loading of this package's named SQL; what the statements mean is said in the `.sql` files themselves."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import LiteralString, cast


def load_statements(file: str) -> Mapping[str, LiteralString]:
    """The statements of a `.sql` file of this package by name; each starts at a line `-- name: <name>`.

    The text is shipped with the package and never built from input, which makes the cast true.
    """
    text = files(__package__).joinpath(file).read_text("utf-8")
    parts = re.split(r"^-- name: ([a-z_]+)\s*$", text, flags=re.MULTILINE)[1:]
    return {name: cast("LiteralString", body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}
