"""A graph's fingerprint tells its shapes apart, and nothing else."""

import subprocess
import sys
from typing import Any, TypedDict

from langgraph.graph import START, StateGraph

from threadline.graphs.versions import LENGTH, differences, graph_version, node_names, read_topology

PROGRAM = """
from threadline.graphs.versions import graph_version
from threadline.graphs.assistant.graph import graph
print(graph_version(graph))
"""


class State(TypedDict, total=False):
    a: str


class Wider(State, total=False):
    b: str


def one(state: State) -> State:
    return {"a": "1"}


def other(state: State) -> State:
    return {"a": "2"}


def make(schema: type[State] = State, *, ends: str = "two") -> str:
    builder = StateGraph(schema).add_node("one", one).add_node("two", other).add_edge(START, "one")
    return graph_version(builder.add_edge("one", ends).compile())


def test_the_same_shape_has_the_same_version_whatever_its_nodes_do() -> None:
    same = StateGraph(State).add_node("one", other).add_node("two", one).add_edge(START, "one").add_edge("one", "two")
    assert make() == graph_version(same.compile())
    assert len(make()) == LENGTH


def test_another_channel_or_edge_is_another_version() -> None:
    assert len({make(), make(Wider), make(ends="one")}) == 3


def test_every_process_finds_the_same_version() -> None:
    found = {
        subprocess.check_output([sys.executable, "-c", PROGRAM], env={"PYTHONHASHSEED": seed}, text=True)
        for seed in ("1", "2")
    }
    assert len(found) == 1


def nest(name: str) -> Any:
    inner = StateGraph(State).add_node(name, one).add_edge(START, name).compile()
    return StateGraph(State).add_node("sub", inner).add_edge(START, "sub").compile()


def test_another_node_of_a_subgraph_is_another_version() -> None:
    assert graph_version(nest("first")) != graph_version(nest("second"))
    told = list(differences(read_topology(nest("first")), read_topology(nest("second"))))
    assert told[:2] == ["node sub/first is gone", "node sub/second is new"]
    assert node_names(read_topology(nest("first")), ["sub"]) == frozenset({START, "first"})
    assert node_names(read_topology(nest("first")), ["other"]) is None


def test_differences_are_told_by_name() -> None:
    builder = StateGraph(Wider).add_node("one", one).add_node("three", other).add_edge(START, "one")
    old = read_topology(StateGraph(State).add_node("one", one).add_edge(START, "one").compile())
    new = read_topology(builder.add_edge("one", "three").compile())
    assert list(differences(old, new)) == [
        "node three is new",
        "edge one -> three is new",
        "channel b is new",
    ]
    assert list(differences(old, old)) == []
