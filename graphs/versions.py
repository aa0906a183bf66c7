"""Owns the fingerprint of a graph: what tells two shapes of it apart; what its nodes do is not in it."""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

LENGTH = 12  # hexadecimal digits: enough to tell the versions of one graph apart


def graph_version(graph: Pregel[Any, Any, Any, Any]) -> str:
    """Return a fingerprint of nodes, what triggers them, edges and channels; the same in every process."""
    nodes = {name: [sorted(node.triggers), sorted(_names(node.channels))] for name, node in graph.nodes.items()}
    channels = {name: type(channel).__name__ for name, channel in graph.channels.items()}
    edges = _edges(graph) if isinstance(graph, CompiledStateGraph) else []
    shape = json.dumps([nodes, channels, edges, sorted(_names(graph.input_channels))], sort_keys=True)
    return sha256(shape.encode()).hexdigest()[:LENGTH]


def _edges(graph: CompiledStateGraph[Any, Any, Any, Any]) -> list[str]:
    """Edges are in no node of a compiled graph: it keeps the builder that knows them."""
    builder = graph.builder
    plain = [f"{start} -> {end}" for start, end in builder.edges]
    waiting = [f"{'+'.join(sorted(starts))} -> {end}" for starts, end in builder.waiting_edges]
    chosen = [
        f"{start} -{name}-> {'|'.join(sorted((branch.ends or {}).values()))}"
        for start, branches in builder.branches.items()
        for name, branch in branches.items()
    ]
    return sorted([*plain, *waiting, *chosen])


def _names(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else [str(name) for name in names]
