"""Owns the talking to the assistant in tests: asking, answering its questions, listening to its stream."""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.types import Command

from threadline.graphs.factories import Graph

Values = dict[str, Any]


def on_thread(thread: str = "1", **settings: Any) -> Any:
    """The config of a run on a thread."""
    return {"configurable": {"thread_id": thread, **settings}}


async def ask(graph: Graph, text: str, *, thread: str = "1", context: Mapping[str, Any] | None = None) -> Values:
    """Run a turn and return the state after it."""
    messages = {"messages": [{"role": "user", "content": text}]}
    values: Values = await graph.ainvoke(messages, on_thread(thread), context=context)
    return values


async def decide(graph: Graph, answer: object, *, thread: str = "1") -> Values:
    """Answer the question that interrupted the thread, and return the state after it."""
    values: Values = await graph.ainvoke(Command(resume=answer), on_thread(thread))
    return values


async def listen(graph: Graph, text: str, **context: Any) -> list[tuple[BaseMessage, dict[str, Any]]]:
    """Run a turn and return what the stream of messages shows, each with its metadata."""
    messages = {"messages": [{"role": "user", "content": text}]}
    heard: list[tuple[BaseMessage, dict[str, Any]]] = []
    async for part in graph.astream(messages, on_thread(), context=context, stream_mode="messages"):
        message, metadata = part
        assert isinstance(message, BaseMessage)
        assert isinstance(metadata, dict)
        heard.append((message, metadata))
    return heard


def answer_of(values: Values) -> str:
    """The text of the last message, which is the assistant's."""
    last = values["messages"][-1]
    assert isinstance(last, AIMessage)
    return str(last.text)


def results_of(values: Values, tool: str) -> list[ToolMessage]:
    """What a tool gave back, in order."""
    return [message for message in values["messages"] if isinstance(message, ToolMessage) and message.name == tool]
