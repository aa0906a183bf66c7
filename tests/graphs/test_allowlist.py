"""Owns the checks of the strict deserialiser's list: what a graph may store comes back, and nothing else does."""

import operator
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.channels import LastValue
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from threadline.graphs.allowlist import schema_allowlist
from threadline.graphs.assistant.graph import graph as assistant
from threadline.graphs.configuration import Configuration, GraphSource
from threadline.graphs.registry import Registry


class Colour(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int


@dataclass
class Shape:
    colour: Colour


@dataclass
class Circle(Shape):
    centre: Point


class Finding(BaseModel):
    colours: Sequence[Colour]


class Token(BaseModel):
    secret: SecretStr


@dataclass
class Tree:
    children: list["Tree"] = field(default_factory=list)


@dataclass
class Payload:
    text: str


@dataclass
class Unrelated:
    text: str


@dataclass
class Report:
    text: str


Alias = NewType("Alias", Payload)


class Inner(TypedDict):
    tree: Tree


class State(TypedDict):
    findings: Annotated[list[Finding], operator.add]
    shapes: Sequence[Shape]
    by_name: Mapping[str, "Token | None"]
    inner: NotRequired[Inner]
    alias: Alias
    kind: Literal["a", "b"]
    anything: Any
    messages: list[AnyMessage]


STORED: dict[str, Any] = {
    "findings": [Finding(colours=[Colour.RED])],
    "shapes": [Shape(Colour.RED), Circle(Colour.RED, Point(1))],
    "by_name": {"a": Token(secret=SecretStr("s"))},
    "inner": {"tree": Tree([Tree()])},
    "alias": Payload("p"),
    "kind": "a",
    "messages": [AIMessage("hello", id="1")],
}


def keep(state: State) -> dict[str, Any]:
    return {}


def test_what_the_state_declares_comes_back_as_it_was() -> None:
    graph = StateGraph(State).add_node("keep", keep).add_edge(START, "keep").compile()
    strict = JsonPlusSerializer(allowed_msgpack_modules=schema_allowlist(graph))
    for name, value in STORED.items():
        assert strict.loads_typed(strict.dumps_typed(value)) == value, name


def test_what_no_schema_declares_is_not_rebuilt() -> None:
    graph = StateGraph(State).add_node("keep", keep).add_edge(START, "keep").compile()
    strict = JsonPlusSerializer(allowed_msgpack_modules=schema_allowlist(graph))
    assert strict.loads_typed(strict.dumps_typed(Unrelated("x"))) == {"text": "x"}
    assert not {name for _, name in schema_allowlist(graph)} & {"Unrelated", "Report", "BaseModel", "Path"}


def test_the_input_of_a_single_node_and_a_subgraph_count_too() -> None:
    class Task(TypedDict):
        payload: Payload

    def work(state: Task) -> dict[str, Any]:
        return {}

    inner = StateGraph(Inner).add_node("keep", lambda state: {}).add_edge(START, "keep").compile()
    builder = StateGraph(MessagesState).add_node("work", work).add_node("inner", inner)
    names = {name for _, name in schema_allowlist(builder.add_edge(START, "inner").compile())}
    assert {"Payload", "Tree"} <= names


@task
async def write_report(text: str) -> Report:
    return Report(text)


async def delegate(text: str) -> Report:
    return await write_report(text)


@entrypoint(checkpointer=InMemorySaver())
async def reporting(text: str) -> str:
    report = await delegate(text)
    decision = interrupt("publish?")
    return f"{type(report).__name__} {report.text} {decision}"


async def test_the_result_of_a_task_survives_an_interrupt_under_the_strict_serialiser() -> None:
    strict = JsonPlusSerializer(allowed_msgpack_modules=schema_allowlist(reporting))
    reporting.checkpointer = InMemorySaver(serde=strict)
    thread: Any = {"configurable": {"thread_id": "1"}}
    await reporting.ainvoke("today", thread)
    assert await reporting.ainvoke(Command(resume="yes"), thread) == "Report today yes"


@asynccontextmanager
async def make_graph() -> AsyncIterator[Any]:
    yield StateGraph(Inner).add_node("keep", lambda state: {}).add_edge(START, "keep")


async def test_a_factory_adds_what_its_graphs_declare_once_they_are_made() -> None:
    source = GraphSource("made", "make_graph", module=__name__)
    registry = Registry(Configuration(Path(__file__).parent / "langgraph.json", {"made": source}))
    assert registry.errors == {}
    assert registry.schema_allowlist("made") == frozenset()
    async with registry.open_graph(
        "made", checkpointer=None, store=None, config={}, context_kind="assistants.read"
    ) as graph:
        assert (__name__, "Tree") in registry.schema_allowlist("made")
        assert graph.name == "made"


def test_a_name_that_exists_only_for_type_checkers_does_not_stop_the_search() -> None:
    loose = make_dataclass("Loose", [("unknown", "OnlyForTypeCheckers"), ("tree", Tree)])

    def work(state: Inner) -> dict[str, Any]:
        return {}

    graph = StateGraph(Inner).add_node("work", work).add_edge(START, "work").compile()
    graph.channels["loose"] = LastValue(loose)
    assert {"Loose", "Tree"} <= {name for _, name in schema_allowlist(graph)}


def test_the_messages_of_a_chat_are_always_allowed() -> None:
    assert {"HumanMessage", "AIMessageChunk"} <= {name for _, name in schema_allowlist(assistant)}
