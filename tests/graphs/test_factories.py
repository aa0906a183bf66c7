"""Owns the checks of graph factories: every signature, what each is called with, and how long its graph lives."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.memory import InMemoryStore
from langgraph_sdk.runtime import AccessContext, ServerRuntime
from pydantic import BaseModel
from typing_extensions import TypedDict

from threadline.graphs.errors import NotAGraph
from threadline.graphs.factories import Call, read_factory

Compiled = CompiledStateGraph[Any, Any, Any, Any]
STORE = InMemoryStore()


class State(TypedDict):
    seen: str


@dataclass
class Context:
    colour: str


class ModelContext(BaseModel):
    colour: str


class DictContext(TypedDict):
    colour: str


def graph_saying(text: str) -> Compiled:
    def say(state: State) -> State:
        return {"seen": text}

    return StateGraph(State).add_node("say", say).add_edge("__start__", "say").compile()


def no_argument() -> Compiled:
    return graph_saying("nothing")


def uncompiled() -> StateGraph[State, None, State, State]:
    return graph_saying("nothing").builder


async def awaited() -> Compiled:
    return graph_saying("nothing")


def by_config_name(config: Any) -> Compiled:
    return graph_saying(config["configurable"]["colour"])


def by_config_annotation(settings: RunnableConfig) -> Compiled:
    return graph_saying(settings["configurable"]["colour"])


def by_being_alone(whatever) -> Compiled:  # type: ignore[no-untyped-def]  # people write factories without types
    return graph_saying(whatever["configurable"]["colour"])


def by_runtime_name(runtime: Any) -> Compiled:
    return graph_saying(runtime.access_context)


def by_runtime_annotation(server: ServerRuntime[Context] | None) -> Compiled:
    assert server is not None
    assert server.execution_runtime is not None
    return graph_saying(server.execution_runtime.context.colour)


async def by_both(config: RunnableConfig, runtime: ServerRuntime[ModelContext]) -> Compiled:
    assert runtime.execution_runtime is not None
    context = runtime.execution_runtime.context
    return graph_saying(f"{context.colour} {config['configurable']['colour']}")


def by_both_the_other_way_round(runtime: "ServerRuntime[DictContext]", config: "RunnableConfig") -> Compiled:
    assert runtime.execution_runtime is not None
    return graph_saying(f"{runtime.execution_runtime.context['colour']} {config['configurable']['colour']}")


def with_defaults(config: RunnableConfig, *, depth: int = 3, **more: object) -> Compiled:
    return graph_saying(f"{depth} {sorted(more)}")


@asynccontextmanager
async def as_context(runtime: ServerRuntime[Any]) -> AsyncIterator[Compiled]:
    yield graph_saying(str(runtime.store is STORE))


class Maker:
    def __call__(self, config: RunnableConfig) -> Compiled:
        return graph_saying(config["configurable"]["colour"])


def make_call(access_context: AccessContext = "threads.create_run") -> Call:
    config = RunnableConfig(configurable={"colour": "blue"})
    return Call(config=config, access_context=access_context, store=STORE, user=None, context={"colour": "red"})


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_argument, "nothing"),
        (uncompiled, "nothing"),
        (awaited, "nothing"),
        (by_config_name, "blue"),
        (by_config_annotation, "blue"),
        (by_being_alone, "blue"),
        (by_runtime_name, "threads.create_run"),
        (by_runtime_annotation, "red"),
        (by_both, "red blue"),
        (by_both_the_other_way_round, "red blue"),
        (with_defaults, "3 []"),
        (as_context, "True"),
        (Maker(), "blue"),
    ],
)
async def test_every_signature_gets_what_it_asks_for(function: Callable[..., Any], says: str) -> None:
    async with read_factory("made", function).open(make_call()) as graph:
        assert await graph.ainvoke({"seen": ""}) == {"seen": says}


@pytest.mark.parametrize("access_context", [kind for kind in get_args(AccessContext) if kind != "threads.create_run"])
async def test_only_a_run_has_an_execution_runtime(access_context: AccessContext) -> None:
    seen: list[Any] = []

    def look(runtime: ServerRuntime[Context]) -> Compiled:
        seen.append(runtime)
        return graph_saying("")

    async with read_factory("made", look).open(make_call(access_context)):
        pass
    assert [(runtime.access_context, runtime.execution_runtime) for runtime in seen] == [(access_context, None)]
    with pytest.raises(PermissionError):
        seen[0].ensure_user()


async def test_what_a_context_manager_acquired_is_released_after_the_run() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def make() -> AsyncIterator[Compiled]:
        events.append("acquired")
        try:
            yield graph_saying("")
        finally:
            events.append("released")

    factory = read_factory("made", make)
    assert events == []

    async def run() -> None:
        async with factory.open(make_call()):
            events.append("ran")
            raise RuntimeError("the run failed")

    with pytest.raises(RuntimeError, match="the run failed"):
        await run()
    assert events == ["acquired", "ran", "released"]


async def test_a_factory_that_returns_no_graph_is_told_what_to_return() -> None:
    with pytest.raises(NotAGraph, match="'made' returned str; return a StateGraph"):
        async with read_factory("made", lambda: "text").open(make_call()):
            pass


async def test_what_a_factory_raises_arrives_as_it_is() -> None:
    def fail() -> Compiled:
        raise LookupError("no such model")

    with pytest.raises(LookupError, match="no such model"):
        async with read_factory("made", fail).open(make_call()):
            pass


def test_a_signature_that_cannot_be_served_is_refused_at_import() -> None:
    def two_things(model: str, tools: list[str]) -> None: ...

    def by_position(model: str, /) -> None: ...

    with pytest.raises(TypeError, match="asks for 'model'; it may take `config`, `runtime`, both or nothing"):
        read_factory("made", two_things)
    with pytest.raises(TypeError, match="by position only"):
        read_factory("made", by_position)
