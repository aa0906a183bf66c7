"""Owns the graphs that tests reach over HTTP: each shows one behaviour of a run."""

import asyncio
import operator
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    """What all graphs here work on."""

    n: int
    text: str
    log: Annotated[list[str], operator.add]


class Context(TypedDict, total=False):
    """What a caller of `configured` may set."""

    a: int


def _note(name: str) -> Any:
    async def node(state: State) -> State:
        return {"n": state.get("n", 0) + 1, "log": [name]}

    return node


def _steps() -> StateGraph[State]:
    graph = StateGraph(State)
    for name, node in (("plan", _note("plan")), ("act", _note("act")), ("tell", _note("tell"))):
        graph.add_node(name, node)
    graph.add_edge(START, "plan").add_edge("plan", "act").add_edge("act", "tell").add_edge("tell", END)
    return graph


async def _ask(state: State) -> State:
    return {"log": [f"answer {interrupt({'q': 'ok?'})}"]}


async def _tick(state: State) -> State:
    """Write `n` custom events, one every 20 ms."""
    write = get_stream_writer()
    for tick in range(state.get("n", 0)):
        write({"tick": tick})
        await asyncio.sleep(0.02)
    return {"log": ["ticked"]}


async def _fail(state: State) -> State:
    raise ValueError("kaboom")


async def _tell_config(state: State, config: RunnableConfig, runtime: Runtime[Context]) -> State:
    configurable = config["configurable"]
    return {"log": [f"configurable {configurable.get('a')}", f"context {(runtime.context or {}).get('a')}"]}


def _untyped(node: Any) -> Any:
    """The types of LangGraph know no node with both a config and a runtime."""
    return node


def _one(name: str, node: Any) -> StateGraph[State]:
    return StateGraph(State).add_node(name, node).add_edge(START, name).add_edge(name, END)


steps = _steps().compile()
asking = _one("ask", _ask).add_node("after", _note("after")).add_edge("ask", "after").compile()
ticking = _one("tick", _tick).compile()
failing = _one("fail", _fail).compile()
configured = (
    StateGraph(State, context_schema=Context).add_node("tell", _untyped(_tell_config)).add_edge(START, "tell").compile()
)
nested = _one("inner", steps).compile()
