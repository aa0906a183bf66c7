"""Owns the graphs that the official clients talk to: one that chats, one that asks, one that counts, and so on."""

import asyncio
import operator
from typing import Annotated, Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict


async def _say(text: str) -> AIMessage:
    """Return `text` as a model does that streams it word by word."""
    return await GenericFakeChatModel(messages=iter([AIMessage(text)])).ainvoke("")


def _text(message: AnyMessage) -> str:
    return str(message.text)


async def _answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await _say(f"You said {_text(state['messages'][-1])}")]}


async def _ask(state: MessagesState) -> dict[str, Any]:
    decision = interrupt({"question": f"Send {_text(state['messages'][-1])!r}?"})
    return {"messages": [await _say(f"Decided: {decision}")]}


class Counting(TypedDict, total=False):
    """How far to count, and what was counted."""

    upto: int
    counted: Annotated[list[int], operator.add]


async def _count(state: Counting) -> Counting:
    """Tell each number, one every 20 ms, and remember them all."""
    write = get_stream_writer()
    numbers = list(range(1, state.get("upto", 0) + 1))
    for number in numbers:
        write({"counted": number})
        await asyncio.sleep(0.02)
    return {"counted": numbers}


class Terms(TypedDict):
    """What `adding` takes."""

    a: int
    b: int


class Sum(TypedDict):
    """What `adding` gives."""

    total: int


class Calculation(Terms, Sum):
    """What `adding` works on."""


async def _add(state: Terms) -> Sum:
    return {"total": state["a"] + state["b"]}


async def _lie(state: Terms) -> dict[str, Any]:
    return {"total": str(state["a"] + state["b"])}


async def _fail(state: MessagesState) -> dict[str, Any]:
    raise ValueError("kaboom")


async def _sleep(state: MessagesState) -> dict[str, Any]:
    """Say something, and never come to an end."""
    said = await _say("I am thinking")
    await asyncio.sleep(600)
    return {"messages": [said]}


def _chat(name: str, node: Any) -> StateGraph[MessagesState]:
    return StateGraph(MessagesState).add_node(name, node).add_edge(START, name).add_edge(name, END)


def _calculating(name: str, node: Any) -> StateGraph[Any, Any, Any, Any]:
    graph = StateGraph(Calculation, input_schema=Terms, output_schema=Sum)
    return graph.add_node(name, node).add_edge(START, name).add_edge(name, END)


chatting = _chat("answer", _answer).compile()
approving = _chat("ask", _ask).compile()
failing = _chat("fail", _fail).compile()
sleeping = _chat("sleep", _sleep).compile()
counting = StateGraph(Counting).add_node("count", _count).add_edge(START, "count").add_edge("count", END).compile()
adding = _calculating("add", _add).compile()
lying = _calculating("lie", _lie).compile()
delegating = _chat("inner", chatting).compile()
