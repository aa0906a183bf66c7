"""Owns the graphs of the invariant tests: each node leaves a trace in a file and, where asked to, waits for a gate."""

import asyncio
import operator
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from langgraph.channels.delta import DeltaChannel
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy, interrupt
from typing_extensions import TypedDict

from threadline.tests.laboratory.speaker import Speaker

Compiled = CompiledStateGraph[Any, Any, Any, Any]
Update = dict[str, Any]
Node = Any  # an async function of the state; LangGraph's own type for it takes no callable variable


class State(TypedDict, total=False):
    """`folder` is where traces and gates lie, `gates` names the nodes that wait for theirs."""

    folder: str
    gates: list[str]
    log: Annotated[list[str], operator.add]
    value: Any


def leave_trace(state: State, text: str) -> None:
    """Append a line that outlives the process, whatever becomes of it."""
    descriptor = os.open(Path(state["folder"]) / "trace", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


async def pass_gate(state: State, name: str) -> None:
    """Wait until the test opens this node's gate."""
    gate = Path(state["folder"]) / f"{name}.open"
    while name in state.get("gates", ()) and not gate.exists():  # noqa: ASYNC110  # the test is another process
        await asyncio.sleep(0.01)


def step(name: str) -> Node:
    """A node that says when it starts and when it has done its work."""

    async def work(state: State) -> Update:
        leave_trace(state, f"{name} started")
        await pass_gate(state, name)
        leave_trace(state, f"{name} done")
        return {"log": [name]}

    work.__name__ = name
    return work


async def tidy(state: State) -> Update:
    """A node that takes its time to tidy up when it is cancelled."""
    leave_trace(state, "tidy started")
    try:
        await pass_gate(state, "tidy")
    except asyncio.CancelledError:
        leave_trace(state, "tidy cancelled")
        await pass_gate(state, "tidying")
        leave_trace(state, "tidy tidied")
        raise
    return {"log": ["tidy"]}


def extend(items: list[str], writes: Sequence[list[str]]) -> list[str]:
    """Put what was written behind what is there."""
    return [*items, *(item for write in writes for item in write)]


def adding(name: str) -> Node:
    """A step that adds to a sum, too."""
    inner = step(name)

    async def add(state: State) -> Update:
        return {**await inner(state), "sum": [name]}

    add.__name__ = name
    return add


def question(name: str) -> Node:
    """A node that asks and goes on with the answer."""

    async def ask(state: State) -> Update:
        answer = interrupt({"asks": name})
        leave_trace(state, f"{name} answered")
        await pass_gate(state, name)
        return {"log": [f"{name}={answer}"]}

    ask.__name__ = name
    return ask


def compile_line(*nodes: Node, retry: RetryPolicy | None = None) -> Compiled:
    """One node after the other."""
    builder = StateGraph(State)
    before = START
    for node in nodes:
        builder.add_node(node.__name__, node, retry_policy=retry)
        builder.add_edge(before, node.__name__)
        before = node.__name__
    return builder.compile()


def compile_fork(left: Node, right: Node) -> Compiled:
    """A node, then two side by side, then one that joins them."""
    builder = StateGraph(State).add_node("first", step("first"))
    builder.add_node("left", left).add_node("right", right).add_node("join", step("join"))
    builder.add_edge(START, "first").add_edge("first", "left").add_edge("first", "right")
    return builder.add_edge(["left", "right"], "join").compile()


def compile_nested() -> Compiled:
    inner = compile_line(step("inner_a"), step("inner_b"))
    builder = StateGraph(State).add_node("a", step("a")).add_node("sub", inner).add_node("c", step("c"))
    return builder.add_edge(START, "a").add_edge("a", "sub").add_edge("sub", "c").compile()


def compile_remembering() -> Compiled:
    """Its subgraph keeps a memory of its own between runs."""
    inner_builder = StateGraph(State).add_node("note", step("note")).add_edge(START, "note")
    inner = inner_builder.compile(checkpointer=True)
    return StateGraph(State).add_node("sub", inner).add_edge(START, "sub").compile()


class Layered(State, total=False):
    """`sum` is stored as what is added to it."""

    sum: Annotated[list[str], DeltaChannel(extend, snapshot_frequency=3)]


def compile_layered() -> Compiled:
    """A subgraph, a sum in a DeltaChannel, and a question: whatever a kept state may be made of."""
    inner = compile_line(step("inner_a"), step("inner_b"))
    builder = StateGraph(Layered).add_node("a", adding("a")).add_node("sub", inner).add_node("ask", question("ask"))
    builder.add_node("c", adding("c")).add_edge(START, "a").add_edge("a", "sub").add_edge("sub", "ask")
    return builder.add_edge("ask", "c").compile()


def compile_long() -> Compiled:
    """Eight supersteps, each of which would be tried again after whatever fails."""
    return compile_line(*[step(name) for name in "abcdefgh"], retry=RetryPolicy(retry_on=Exception))


def compile_deep() -> Compiled:
    """All of its supersteps are a subgraph's."""
    return StateGraph(State).add_node("sub", compile_long()).add_edge(START, "sub").compile()


def compile_forgetful() -> Compiled:
    """Its subgraph keeps no checkpoints."""
    inner = StateGraph(State).add_node("note", step("note")).add_edge(START, "note").compile(checkpointer=False)
    return StateGraph(State).add_node("sub", inner).add_edge(START, "sub").compile()


async def talk(state: State) -> Update:
    """Streams tokens and a custom event before it waits: an attempt that dies here has shown them."""
    leave_trace(state, "talk started")
    message = await Speaker().ainvoke("say something")
    get_stream_writer()({"said": message.content})
    await pass_gate(state, "talk")
    leave_trace(state, "talk done")
    return {"log": ["talk"]}


async def flood(state: State) -> Update:
    """Emits custom events, 100 kB each, until it is stopped."""
    write = get_stream_writer()
    leave_trace(state, "flood started")
    await pass_gate(state, "flood")
    while True:
        write("x" * 100_000)
        await asyncio.sleep(0)


async def burst(state: State) -> Update:
    """Emits as many custom events as `value` says, one per turn of the loop."""
    write = get_stream_writer()
    for number in range(state["value"]):
        write({"number": number})
        if number % 10 == 0:
            await asyncio.sleep(0)
    return {"log": ["burst"]}


async def die(state: State) -> Update:
    """Takes its process with it."""
    leave_trace(state, "die started")
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def hog(state: State) -> Update:
    """Holds the event loop and the interpreter for `value` seconds."""
    leave_trace(state, "hog started")
    end = time.monotonic() + state["value"]
    while time.monotonic() < end:
        sum(range(1000))
    leave_trace(state, "hog done")
    return {"log": ["hog"]}


async def stubborn(state: State) -> Update:
    """Swallows whatever is thrown at it while it waits, its own cancellation included."""
    leave_trace(state, "stubborn started")
    try:
        await pass_gate(state, "stubborn")
    except BaseException:  # what bad user code does
        leave_trace(state, "stubborn swallowed")
    return {"log": ["stubborn"]}


class Opaque:
    """A value with neither a msgpack nor a JSON form."""


async def give_opaque(state: State) -> Update:
    """Returns what nobody can store."""
    return {"value": Opaque()}


async def give_value(state: State) -> Update:
    """Returns the value it was given, so that it is stored as its own write."""
    return {"value": state["value"], "log": ["gave"]}


async def turn_value(state: State) -> Update:
    """Returns the value turned round."""
    return {"value": state["value"][::-1]}


def compile_odd(channel: str) -> Compiled:
    """A graph with a channel of that name, which the database, or its driver, may refuse."""
    schema: Any = TypedDict("OddState", {"log": Annotated[list[str], operator.add], channel: list[str]})  # type: ignore[misc]  # the name is the point

    async def write(state: Any) -> Update:
        return {channel: ["written"], "log": ["written"]}

    return StateGraph(schema).add_node("write", write).add_edge(START, "write").compile()


async def broken_factory(config: dict[str, Any]) -> Compiled:
    """A factory that works for a run, and fails when somebody else wants to read the thread."""
    if "run_attempt" in config.get("metadata", {}):
        return compile_line(step("a"), step("b"))
    raise KeyError("this factory works for runs only")


line = compile_line(step("a"), step("b"), step("c"))
retrying = compile_line(step("a"), step("b"), step("c"), step("d"), retry=RetryPolicy(retry_on=Exception))
swallowing = compile_line(step("a"), stubborn, step("c"), step("d"))
tidying = compile_line(step("a"), tidy)
fork = compile_fork(step("left"), step("right"))
nested = compile_nested()
layered = compile_layered()
remembering = compile_remembering()
long = compile_long()
deep = compile_deep()
forgetful = compile_forgetful()
asking = compile_line(step("a"), question("ask"), step("b"), question("ask_again"), step("c"))
asking_twice = compile_fork(question("left"), question("right"))
talking = compile_line(step("a"), talk, step("c"))
flooding = compile_line(step("a"), flood)
bursting = compile_line(burst)
dying = compile_line(step("a"), die, step("c"))
hogging = compile_line(step("a"), hog, step("c"))
opaque = compile_line(step("a"), give_opaque, step("c"))
giving = compile_line(give_value, step("c"))
turning = compile_line(turn_value)
nul_channel = compile_odd("nul\0")
surrogate_channel = compile_odd("half\ud800")

NAMES = (
    *(
        "line",
        "retrying",
        "swallowing",
        "fork",
        "nested",
        "layered",
        "remembering",
        "asking",
        "asking_twice",
        "talking",
    ),
    *("flooding", "bursting", "dying", "hogging", "opaque", "giving", "nul_channel", "surrogate_channel"),
    *("broken_factory", "deep", "long", "forgetful", "turning", "tidying"),
)
