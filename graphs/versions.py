"""Owns what tells two versions of a graph apart: its topology by name, and a fingerprint of it beside that of its code.

What its nodes do is in the code's fingerprint only, which `code` makes. What follows from a difference is left to
`runs`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

LENGTH = 12  # hexadecimal digits: enough to tell the versions of one graph apart

# As JSON: {"nodes": {name: [triggers, channels]}, "channels": {name: class}, "edges": [...], "input": [...],
# "subgraphs": {node: topology}}.
Topology = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """A graph as one process has it; the hashes are the same in every process with the same files."""

    graph_id: str
    topology_hash: str
    code_hash: str
    topology: Topology

    @property
    def stamp(self) -> dict[str, str]:
        """What every checkpoint of it carries in its metadata."""
        return {"graph_id": self.graph_id, "topology_hash": self.topology_hash, "code_hash": self.code_hash}


def make_version(graph_id: str, graph: Pregel[Any, Any, Any, Any], code_hash: str) -> Version:
    """Return the version that the graph is of."""
    topology = read_topology(graph)
    return Version(graph_id, topology_hash(topology), code_hash, topology)


def graph_version(graph: Pregel[Any, Any, Any, Any]) -> str:
    """Return a fingerprint of nodes, what triggers them, edges, channels and subgraphs; the same in every process."""
    return topology_hash(read_topology(graph))


def topology_hash(topology: Topology) -> str:
    """Return the fingerprint of a topology."""
    return sha256(json.dumps(topology, sort_keys=True).encode()).hexdigest()[:LENGTH]


def read_topology(graph: Pregel[Any, Any, Any, Any]) -> Topology:
    """Return what can be compared of the graph's shape, and of the subgraphs' that LangGraph knows of."""
    return {
        "nodes": {name: [sorted(node.triggers), sorted(_names(node.channels))] for name, node in graph.nodes.items()},
        "channels": {name: type(channel).__name__ for name, channel in graph.channels.items()},
        "edges": _edges(graph) if isinstance(graph, CompiledStateGraph) else [],
        "input": sorted(_names(graph.input_channels)),
        "subgraphs": {
            name: read_topology(subgraph) for name, subgraph in graph.get_subgraphs() if isinstance(subgraph, Pregel)
        },
    }


def node_names(topology: Topology, path: Iterable[str] = ()) -> frozenset[str] | None:
    """Return the nodes of the graph, or of the subgraph that the nodes of `path` lead to; None when nobody knows it."""
    for name in path:
        if name not in topology["subgraphs"]:
            return None
        topology = topology["subgraphs"][name]
    return frozenset(topology["nodes"])


def differences(old: Topology, new: Topology, place: str = "") -> Iterator[str]:
    """Yield what became of the graph, most important first: nodes, then edges, then channels."""
    yield from _changes("node", old["nodes"], new["nodes"], place)
    for edge in sorted({*old["edges"]} ^ {*new["edges"]}):
        yield f"edge {place}{edge} is {'gone' if edge in old['edges'] else 'new'}"
    yield from _changes("channel", old["channels"], new["channels"], place)
    for name in sorted({*old["subgraphs"]} & {*new["subgraphs"]}):
        yield from differences(old["subgraphs"][name], new["subgraphs"][name], f"{place}{name}/")


def _changes(kind: str, old: Mapping[str, Any], new: Mapping[str, Any], place: str) -> Iterator[str]:
    """Channels that only carry an edge are left to what is said about edges."""
    names = sorted(name for name in {*old} | {*new} if kind == "node" or ":" not in name)
    yield from (f"{kind} {place}{name} is gone" for name in names if name not in new)
    yield from (f"{kind} {place}{name} is new" for name in names if name not in old)
    for name in names:
        if name in old and name in new and old[name] != new[name]:
            yield f"{kind} {place}{name} is another"


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
