"""Owns graphs whose states the tests read and change."""

import asyncio
import operator
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt
from langgraph_sdk.runtime import ServerRuntime
from pydantic import BaseModel
from typing_extensions import TypedDict

Compiled = CompiledStateGraph[Any, Any, Any, Any]


class State(TypedDict, total=False):
    n: int
    note: str
    mode: str
    log: Annotated[list[str], operator.add]


class Chat(TypedDict):
    messages: Annotated[list[Any], add_messages]


class Finding(BaseModel):
    text: str


class Report(TypedDict, total=False):
    finding: Finding


def plan(state: State) -> State:
    return {"log": ["plan"]}


def act(state: State) -> State:
    if state.get("mode") == "ask":
        return {"log": [interrupt({"q": "ok?"})]}
    if state.get("mode") == "fail":
        raise ValueError("kaboom")
    return {"log": ["act"]}


def compile_steps() -> Compiled:
    builder = StateGraph(State).add_node("plan", plan).add_node("act", act)
    return builder.add_edge(START, "plan").add_edge("plan", "act").add_edge("act", END).compile()


def compile_nested() -> Compiled:
    builder = StateGraph(State).add_node("plan", plan).add_node("sub", compile_steps())
    return builder.add_edge(START, "plan").add_edge("plan", "sub").compile()


def compile_jumping() -> Compiled:
    def jump(state: State) -> Command[str]:
        return Command(goto="act")

    builder = StateGraph(State).add_node("jump", jump, destinations=("act",)).add_node("act", act)
    return builder.add_edge(START, "jump").compile()


def compile_clashing() -> Compiled:
    def write(state: State) -> State:
        return {"n": state.get("n", 0) + 1}

    builder = StateGraph(State).add_node("left", write).add_node("right", write)
    return builder.add_edge(START, "left").add_edge(START, "right").compile()


def compile_hanging() -> Compiled:
    async def never_decide(state: State) -> str:
        await asyncio.Event().wait()
        return "plan"

    builder = StateGraph(State).add_node("plan", plan).add_edge(START, "plan")
    return builder.add_conditional_edges("plan", never_decide, ["plan"]).compile()


def compile_chat() -> Compiled:
    def answer(state: Chat) -> dict[str, Any]:
        return {"messages": [("ai", "hello")]}

    return StateGraph(Chat).add_node("answer", answer).add_edge(START, "answer").compile()


def make_report(config: RunnableConfig, runtime: ServerRuntime[Any]) -> Compiled:
    """A factory whose graph has nodes named after what it was called with."""
    seen = f"{runtime.access_context} {config['configurable']['thread_id']} {config.get('recursion_limit')}"

    def write(state: Report) -> Report:
        return {"finding": Finding(text="a")}

    builder = StateGraph(Report).add_node("write", write).add_node(seen, write)
    return builder.add_edge(START, "write").add_edge("write", END).compile()


steps, nested, jumping = compile_steps(), compile_nested(), compile_jumping()
hanging, chat, clashing = compile_hanging(), compile_chat(), compile_clashing()
