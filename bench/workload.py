"""Owns what every contender runs: graphs that cost next to nothing themselves, and what must come out of them."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import StreamWriter

TOKENS = 300  # events of one burst
PAUSE = 600.0  # seconds; far longer than anybody looks at an idle stream


class State(TypedDict):
    """What the nodes add to."""

    log: Annotated[list[str], operator.add]


STEPS_INPUT: dict[str, Any] = {"log": ["in"]}
STEPS_RESULT: dict[str, Any] = {"log": ["in", "a", "b", "c"]}
TOKENS_RESULT: dict[str, Any] = {"log": ["in", "said"]}


class WrongResult(Exception):
    """A run did not come to what the graph computes: numbers about it would mean nothing."""


def check(result: object, expected: object) -> None:
    """Raise WrongResult unless the run came to what it must."""
    if result != expected:
        raise WrongResult(f"a run ended with {result!r} instead of {expected!r}")


async def _a(state: State) -> State:
    return {"log": ["a"]}


async def _b(state: State) -> State:
    return {"log": ["b"]}


async def _c(state: State) -> State:
    return {"log": ["c"]}


async def _say(state: State, writer: StreamWriter) -> State:
    for number in range(TOKENS):
        writer({"token": "word ", "number": number})
    return {"log": ["said"]}


async def _wait(state: State) -> State:
    await asyncio.sleep(PAUSE)
    return {"log": ["waited"]}


def draw_steps() -> StateGraph[State]:
    """Return the three-node graph, not compiled yet: in-process contenders bind their own checkpointer."""
    drawn = StateGraph(State).add_node("a", _a).add_node("b", _b).add_node("c", _c)
    return drawn.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")


steps = draw_steps().compile()
tokens = StateGraph(State).add_node("say", _say).add_edge(START, "say").compile()
pause = StateGraph(State).add_node("wait", _wait).add_edge(START, "wait").compile()
