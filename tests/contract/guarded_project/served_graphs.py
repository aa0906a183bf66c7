"""Owns the graphs behind the guard."""

from typing import TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    n: int
    answer: str


def count(state: State) -> State:
    return {"n": state.get("n", 0) + 1}


def ask(state: State) -> State:
    return {"answer": interrupt("ok?")}


steps = StateGraph(State).add_node("count", count).add_edge(START, "count").compile()
asking = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile()
