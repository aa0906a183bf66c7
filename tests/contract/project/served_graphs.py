"""Owns the graphs that both servers run: each shows one behaviour, and the same each time.

Imports nothing of ours: the reference lives in an environment of its own.
"""

import asyncio
import operator
import os
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.runtime import get_runtime
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

# A gated node goes on when a file of the name in its input is there.
GATES = Path(os.environ.get("CONTRACT_GATES", "."))
GATE_POLL_SECONDS = 0.02


class State(TypedDict, total=False):
    """What most graphs here work on."""

    n: int
    gate: str
    log: Annotated[list[str], operator.add]


class ChatState(TypedDict):
    """A conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


class Context(TypedDict, total=False):
    """What a caller of `configured` may set."""

    model: str


def _note(name: str) -> Any:
    async def node(state: State) -> State:
        return {"n": state.get("n", 0) + 1, "log": [name]}

    return node


def _steps() -> StateGraph[State]:
    graph = StateGraph(State)
    for name in ("plan", "act", "tell"):
        graph.add_node(name, _note(name))
    graph.add_edge(START, "plan").add_edge("plan", "act").add_edge("act", "tell").add_edge("tell", END)
    return graph


async def _ask(state: State) -> State:
    return {"log": [f"answer {interrupt({'q': 'ok?'})}"]}


async def _ask_twice(state: State) -> State:
    return {"log": [f"answer {interrupt('first')}", f"answer {interrupt('second')}"]}


async def _tick(state: State) -> State:
    write = get_stream_writer()
    for tick in range(state.get("n", 0)):
        write({"tick": tick})
    return {"log": ["ticked"]}


async def _fail(state: State) -> State:
    raise ValueError("kaboom")


async def _pass_gate(state: State) -> State:
    get_stream_writer()({"at": "gate"})
    while True:
        if (GATES / state["gate"]).exists():
            return {"log": ["gate"]}
        await asyncio.sleep(GATE_POLL_SECONDS)


async def _tell_config(state: State, config: RunnableConfig) -> State:
    configurable, metadata = config["configurable"], config["metadata"]
    return {
        "log": [
            f"configurable {configurable.get('model')}",
            f"context {(get_runtime(Context).context or {}).get('model')}",
            f"tags {sorted(config.get('tags') or [])}",
            f"metadata {metadata.get('mine')}",
            f"created by {metadata.get('created_by')}",
            f"recursion limit {config.get('recursion_limit')}",
        ]
    }


async def _spread(state: State) -> Command[Any]:
    return Command(goto=[Send("part", {"n": number}) for number in range(state.get("n", 0))])


async def _part(state: State) -> State:
    return {"log": [f"part {state['n']}"]}


async def _talk(state: ChatState) -> dict[str, Any]:
    model = GenericFakeChatModel(messages=cycle([AIMessage(content="Hello good friend", id="reply")]))
    reply = await model.ainvoke(state["messages"])
    return {"messages": [reply]}


async def _echo(state: ChatState) -> dict[str, Any]:
    said = state["messages"][-1]
    return {"messages": [AIMessage(content=f"echo: {said.content}", id=f"echo-{said.id}")]}


def _one(name: str, node: Any) -> StateGraph[State]:
    return StateGraph(State).add_node(name, node).add_edge(START, name).add_edge(name, END)


def _chat(name: str, node: Any) -> StateGraph[ChatState]:
    return StateGraph(ChatState).add_node(name, node).add_edge(START, name).add_edge(name, END)


steps = _steps().compile()
asking = _one("ask", _ask).add_node("after", _note("after")).add_edge("ask", "after").compile()
asking_twice = _one("ask", _ask_twice).compile()
ticking = _one("tick", _tick).compile()
failing = _one("fail", _fail).compile()
failing_late = (
    StateGraph(State)
    .add_node("first", _note("first"))
    .add_node("fail", _fail)
    .add_edge(START, "first")
    .add_edge("first", "fail")
    .add_edge("fail", END)
    .compile()
)
gated = _one("wait", _pass_gate).add_node("after", _note("after")).add_edge("wait", "after").compile()
configured = (
    StateGraph(State, context_schema=Context)
    .add_node("tell", _tell_config)
    .add_edge(START, "tell")
    .add_edge("tell", END)
    .compile()
)
nested = _one("inner", steps).compile()
asking_nested = _one("inner", asking).compile()
spreading = _one("spread", _spread).add_node("part", _part).add_edge("part", END).compile()
chat = _chat("talk", _talk).compile()
echo = _chat("echo", _echo).compile()
