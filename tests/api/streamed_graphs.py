"""Owns the graphs that the event-streaming protocol is tried on: they talk, ask, call tools, fail, take time."""

import asyncio
import operator
from typing import Annotated, Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.prebuilt import ToolNode
from langgraph.stream import StreamChannel, StreamTransformer
from langgraph.types import interrupt
from typing_extensions import TypedDict

TOLD = "three little words"


class State(TypedDict, total=False):
    """What all graphs here work on."""

    topic: str
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def _model(*texts: str) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(text) for text in texts]))


async def _plan(state: State) -> State:
    write = get_stream_writer()
    write({"name": "progress", "done": 0.5})
    write("no name")
    return {"log": ["plan"]}


async def _talk(state: State) -> State:
    return {"log": ["talk"], "messages": [await _model(TOLD).ainvoke("go on")]}


async def _talk_twice(state: State) -> Any:
    """Two models at once."""
    answers = await asyncio.gather(_model("one two").ainvoke("a"), _model("three four").ainvoke("b"))
    return {"messages": list(answers)}


async def _break_off(state: State) -> State:
    class Broken(GenericFakeChatModel):
        def _stream(self, *arguments: Any, **options: Any) -> Any:
            yield from list(super()._stream(*arguments, **options))[:2]
            raise ConnectionError("the model hung up")

    return {"messages": [await Broken(messages=iter([AIMessage(TOLD)])).ainvoke("go on")]}


async def _ask(state: State) -> State:
    return {"log": [f"answer {interrupt({'q': state.get('topic', 'ok?')})}"]}


async def _ask_other(state: State) -> State:
    return {"log": [f"other {interrupt({'q': 'and this?'})}"]}


async def _doze(state: State) -> State:
    await asyncio.sleep(60)
    return {"log": ["woke up"]}


async def _fail(state: State) -> State:
    raise ValueError("kaboom")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def _call(state: State) -> Any:
    return {"messages": [AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "call-1"}])]}


def _chain(**nodes: Any) -> Any:
    graph = StateGraph(State)
    before = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    return graph.add_edge(before, END).compile()


talking = _chain(plan=_plan, talk=_talk)
chorus = _chain(talk=_talk_twice)
broken_off = _chain(talk=_break_off)
asking = _chain(ask=_ask, talk=_talk)
nested = _chain(plan=_plan, inner=_chain(talk=_talk))
nested_asking = _chain(inner=_chain(deep=_chain(ask=_ask)), plan=_plan)
dozing = _chain(doze=_doze)
failing = _chain(plan=_plan, fail=_fail)
nested_failing = _chain(inner=_chain(fail=_fail))
calling = _chain(call=_call, tools=ToolNode([add]))


class Counting(StreamTransformer):
    """Says on its channel which node has returned something."""

    required_stream_modes = ("updates",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self._counts: StreamChannel[Any] = StreamChannel("counts")
        self._hidden: StreamChannel[Any] = StreamChannel()

    def init(self) -> dict[str, Any]:
        return {"counts": self._counts, "hidden": self._hidden}

    def process(self, event: Any) -> bool:
        if event["method"] == "updates":
            self._counts.push({"nodes": list(event["params"]["data"])})
            self._hidden.push("seen here only")
        return True


class Summing(StreamTransformer):
    """Takes its time, and says at the end how many values it has seen."""

    required_stream_modes = ("values",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self._sum: StreamChannel[Any] = StreamChannel("sum")
        self._seen = 0

    def init(self) -> dict[str, Any]:
        return {"sum": self._sum}

    async def aprocess(self, event: Any) -> bool:
        await asyncio.sleep(0.01)
        self._seen += event["method"] == "values"
        return True

    async def afinalize(self) -> None:
        self._sum.push(self._seen)


class Broken(StreamTransformer):
    """Raises at the first event."""

    def init(self) -> dict[str, Any]:
        return {}

    def process(self, event: Any) -> bool:
        raise ValueError("broken")


_line = StateGraph(State).add_node("plan", _plan).add_node("act", _plan).add_edge(START, "plan").add_edge("plan", "act")
projecting = _line.compile(transformers=[Broken, Counting, Summing])

_both = StateGraph(State)
_both.add_node("ask", _ask).add_node("other", _ask_other)
_both.add_edge(START, "ask").add_edge(START, "other")
asking_twice = _both.compile()
