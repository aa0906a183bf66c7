"""The graphs whose runs end in every way a run can end."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class Log(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


async def first(state: Log) -> Log:
    return {"log": ["first"]}


async def second(state: Log) -> Log:
    return {"log": ["second"]}


async def wait_for_ever(state: Log) -> Log:
    await asyncio.Event().wait()
    return {"log": ["never"]}


def ask(state: Log) -> Log:
    return {"log": [f"answered {interrupt('go on?')}"]}


async def fail(state: Log) -> Log:
    raise ValueError("kaboom")


async def return_the_unstorable(state: Log) -> Log:
    return {"log": [object()]}


async def flood(state: Log) -> Log:
    write = get_stream_writer()
    for _ in range(200):
        write("x" * 1_000_000)
    await asyncio.Event().wait()
    return {}


async def loop(state: Log) -> Log:
    return {"log": ["again"]}


steps = StateGraph(Log).add_sequence([first, second]).add_edge(START, "first").compile()
asking = StateGraph(Log).add_sequence([first, ask]).add_edge(START, "first").compile()
waiting = StateGraph(Log).add_sequence([first, wait_for_ever]).add_edge(START, "first").compile()
answering = StateGraph(Log).add_sequence([ask, wait_for_ever]).add_edge(START, "ask").compile()
failing = StateGraph(Log).add_sequence([first, fail]).add_edge(START, "first").compile()
unstorable = StateGraph(Log).add_sequence([first, return_the_unstorable]).add_edge(START, "first").compile()
flooding = StateGraph(Log).add_node(flood).add_edge(START, "flood").compile()
looping = StateGraph(Log).add_node(loop).add_edge(START, "loop").add_edge("loop", "loop").compile()
