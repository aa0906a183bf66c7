"""Owns the graphs that the fault laboratory serves: each node leaves a line in a file before and after its work.

A line names run, attempt, piece of work and superstep, so that what was done can be held against what was committed.
"""

import asyncio
import json
import operator
import os
import time
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

NAMES = ("asking", "counting", "fork", "nested", "chatty", "blocking")
EFFECTS = "FAULTS_EFFECTS"  # the variable that names the file


class State(TypedDict, total=False):
    """`pace` in seconds is how long a node works, `steps` how often `counting` counts."""

    steps: int
    pace: float
    log: Annotated[list[str], operator.add]
    answer: Any


Update = dict[str, Any]
Node = Any  # an async function of the state; LangGraph's own type for it takes no callable variable


def leave(config: RunnableConfig, work: str, what: str) -> None:
    """Append a line that outlives the process, whatever becomes of it."""
    run = config["metadata"]
    depth = run["langgraph_checkpoint_ns"].count("|")
    superstep = f"{depth}.{run['langgraph_step']}"
    line = json.dumps([run["run_id"], run["run_attempt"], work, superstep, what, os.getpid()])
    descriptor = os.open(os.environ[EFFECTS], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def step(name: str) -> Node:
    """A node that works for as long as the pace says."""

    async def work(state: State, config: RunnableConfig) -> Update:
        leave(config, name, "started")
        await asyncio.sleep(state.get("pace", 0))
        leave(config, name, "done")
        return {"log": [name]}

    work.__name__ = name
    return work


async def count(state: State, config: RunnableConfig) -> Update:
    """Do the next of many pieces of work."""
    work = f"step{len(state.get('log', ()))}"
    leave(config, work, "started")
    await asyncio.sleep(state.get("pace", 0))
    leave(config, work, "done")
    return {"log": [work]}


def is_counting(state: State) -> str:
    """Whether there is more to count."""
    return "count" if len(state["log"]) < state["steps"] else END


async def talk(state: State, config: RunnableConfig) -> Update:
    """Tell clients of the work as it goes on."""
    leave(config, "talk", "started")
    write = get_stream_writer()
    for number in range(20):
        write({"word": number})
        await asyncio.sleep(state.get("pace", 0) / 10)
    leave(config, "talk", "done")
    return {"log": ["talk"]}


async def block(state: State, config: RunnableConfig) -> Update:
    """Hold the whole process up, as bad code does."""
    leave(config, "block", "started")
    time.sleep(state.get("pace", 0))  # noqa: ASYNC251  # the fault that this graph is for
    leave(config, "block", "done")
    return {"log": ["block"]}


async def ask(state: State, config: RunnableConfig) -> Update:
    """Ask, and go on with the answer."""
    answer = interrupt({"question": "go on?"})
    leave(config, "ask", "started")
    await asyncio.sleep(state.get("pace", 0))
    leave(config, "ask", "done")
    return {"log": ["ask"], "answer": answer}


def sequence(*nodes: Node) -> "StateGraph[State, Any, Any, Any]":
    """One node after the other."""
    builder = StateGraph(State)
    before = START
    for node in nodes:
        builder.add_node(node.__name__, node).add_edge(before, node.__name__)
        before = node.__name__
    return builder


def make_fork() -> "StateGraph[State, Any, Any, Any]":
    """A node, then two side by side, then one that joins them."""
    builder = sequence(step("first"))
    for node in ("left", "right"):
        builder.add_node(node, step(node)).add_edge("first", node)
    return builder.add_node("join", step("join")).add_edge(["left", "right"], "join")


def make_nested() -> "StateGraph[State, Any, Any, Any]":
    """A node, a graph of two, a node."""
    inner = sequence(step("inner_a"), step("inner_b")).compile()
    builder = sequence(step("a")).add_node("sub", inner).add_node("c", step("c"))
    return builder.add_edge("a", "sub").add_edge("sub", "c")


counting = sequence(count).add_conditional_edges("count", is_counting).compile()
fork = make_fork().compile()
nested = make_nested().compile()
chatty = sequence(step("a"), talk, step("c")).compile()
asking = sequence(step("a"), ask, step("c")).compile()
blocking = sequence(step("a"), block, step("c")).compile()
