"""Owns what can go wrong between langgraph.json and a graph; what HTTP makes of it is decided by the API.

GraphError
 +-- ConfigurationError   langgraph.json cannot be used at all (also a ValueError)
 +-- UnknownGraph         no graph has this id (also a LookupError)
 +-- GraphImportError     this one graph could not be imported; the others are not affected
 +-- NotAGraph            a factory returned something that cannot be run (also a TypeError)
"""

from collections.abc import Sequence
from pathlib import Path


class GraphError(Exception):
    """A graph could not be found, read or made."""


class ConfigurationError(GraphError, ValueError):
    """langgraph.json cannot be used; names the file, the key and what it should hold instead."""

    def __init__(self, path: Path, key: str, problem: str) -> None:
        self.path = path
        self.key = key
        self.problem = problem
        super().__init__(f"{path}: {key}: {problem}" if key else f"{path}: {problem}")


class UnknownGraph(GraphError, LookupError):
    """No graph has this id; names those that exist."""

    def __init__(self, graph_id: str, graph_ids: Sequence[str]) -> None:
        self.graph_id = graph_id
        self.graph_ids = tuple(graph_ids)
        super().__init__(f"There is no graph {graph_id!r}; langgraph.json has: {', '.join(graph_ids) or 'none'}")


class GraphImportError(GraphError):
    """A graph could not be imported.

    `file` is the place that failed, relative to langgraph.json where it lies beside it, and `line` the line
    in it (None when the file itself is the problem). `text` says what is wrong.
    """

    def __init__(self, graph_id: str, file: str, line: int | None, text: str) -> None:
        self.graph_id = graph_id
        self.file = file
        self.line = line
        self.text = text
        place = file if line is None else f"{file}, line {line}"
        super().__init__(f"Graph {graph_id!r} could not be imported: {place}: {text}")


class NotAGraph(GraphError, TypeError):
    """A factory returned something other than a graph."""

    def __init__(self, graph_id: str, value: object) -> None:
        self.graph_id = graph_id
        super().__init__(
            f"The factory of graph {graph_id!r} returned {type(value).__name__}; return a StateGraph, a compiled "
            "graph, or an async context manager that yields one"
        )
