"""A graph's fingerprint tells its shapes apart, and nothing else."""

import subprocess
import sys
from typing import TypedDict

from langgraph.graph import START, StateGraph

from threadline.graphs.versions import LENGTH, graph_version

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
