"""The graphs whose pasts are looked at: tokens, subgraphs, questions, failures, parallel nodes, values of all kinds."""

import asyncio
import operator
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.channels.delta import DeltaChannel
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

USAGE = UsageMetadata(input_tokens=7, output_tokens=3, total_tokens=10)


class Log(TypedDict, total=False):
    """What most graphs here work on."""

    n: int
    log: Annotated[list[Any], operator.add]


class Chat(TypedDict, total=False):
    """A conversation."""

    messages: Annotated[list[Any], add_messages]


class Finding(BaseModel):
    """A class of a user's own."""

    text: str
    weight: float = 1.0


class Report(TypedDict, total=False):
    """A state that holds such a class."""

    finding: Finding
    notes: list[str]


def _append(value: list[Any] | None, writes: Sequence[list[Any]]) -> list[Any]:
    return [*(value or []), *(item for write in writes for item in write)]


class Delta(TypedDict, total=False):
    """A state whose log is kept as its changes."""

    n: int
    log: Annotated[list[Any], DeltaChannel(_append)]


class Parrot(BaseChatModel):
    """A model that says three words, one by one, and reports what they cost."""

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        message = AIMessage(content="one two three", usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in ("one ", "two ", "three"):
            await asyncio.sleep(0)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=USAGE))


async def first(state: Log) -> Log:
    get_stream_writer()({"at": "first"})
    return {"log": ["first"], "n": state.get("n", 0) + 1}


async def second(state: Log) -> Log:
    return {"log": ["second"], "n": state.get("n", 0) + 1}


async def left(state: Log) -> Log:
    return {"log": ["left"]}


def ask(state: Log) -> Log:
    return {"log": [f"answer {interrupt({'q': 'go on?'})}"]}


async def fail(state: Log) -> Log:
    raise ValueError("kaboom")


async def wait_for_ever(state: Log) -> Log:
    await asyncio.Event().wait()
    return {}


async def speak(state: Chat) -> Chat:
    return {"messages": [await Parrot().ainvoke(state["messages"])]}


def report(state: Report) -> Report:
    return {"finding": Finding(text="found"), "notes": ["a", "b"]}


def close(state: Report) -> Report:
    return {"notes": [*state.get("notes", []), "closed"]}


async def note(state: Delta) -> Delta:
    return {"log": ["note"], "n": state.get("n", 0) + 1}


def _sequence(*nodes: Any, state: Any = Log) -> Any:
    return StateGraph(state).add_sequence(list(nodes)).add_edge(START, nodes[0].__name__).compile()


steps = _sequence(first, second)
asking = _sequence(first, ask, second)
failing = _sequence(first, fail)
waiting = _sequence(first, wait_for_ever)
talking = _sequence(speak, state=Chat)
reporting = _sequence(report, close, state=Report)
delta = StateGraph(Delta).add_sequence([("a", note), ("b", note), ("c", note)]).add_edge(START, "a").compile()
_inner = _sequence(left, ask)
nested = (
    StateGraph(Log)
    .add_node(first)
    .add_node("inner", _inner)
    .add_node(second)
    .add_edge(START, "first")
    .add_edge("first", "inner")
    .add_edge("inner", "second")
    .compile()
)
parallel = (
    StateGraph(Log)
    .add_node(left)
    .add_node(ask)
    .add_node(second)
    .add_edge(START, "left")
    .add_edge(START, "ask")
    .add_edge(["left", "ask"], "second")
    .compile()
)
