"""Owns graph factories: which arguments a factory takes, and how what it returns becomes a graph.

When a factory is called, and what its graph is bound to, is left to `registry`.
"""

import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, get_args

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph_sdk.auth.types import BaseUser
from langgraph_sdk.runtime import AccessContext, ServerRuntime, _ExecutionRuntime, _ReadRuntime
from pydantic import BaseModel
from typing_extensions import is_typeddict

from threadline.graphs.errors import NotAGraph

Graph = Pregel[Any, Any, Any, Any]
Runtime = _ExecutionRuntime[Any] | _ReadRuntime[Any]

_RUNTIMES = (ServerRuntime, _ExecutionRuntime, _ReadRuntime)


@dataclass(frozen=True, slots=True)
class Call:
    """Why and for whom a factory is called: the values its arguments are made from."""

    config: RunnableConfig
    access_context: AccessContext
    store: BaseStore | None
    user: BaseUser | None
    context: Any


@dataclass(frozen=True, slots=True)
class Factory:
    """A callable that makes a graph, and the names of the parameters it takes."""

    graph_id: str
    function: Callable[..., Any]
    config: str | None
    runtime: str | None
    context_type: Any

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[Graph]:
        """Make a graph; what the factory acquired lives as long as the context.

        Raises NotAGraph, or whatever the factory raises.
        """
        arguments: dict[str, Any] = {}
        if self.config is not None:
            arguments[self.config] = call.config
        if self.runtime is not None:
            arguments[self.runtime] = self._runtime(call)
        made = self.function(**arguments)
        if inspect.isawaitable(made):
            made = await made
        if isinstance(made, AbstractAsyncContextManager):
            async with made as value:
                yield as_graph(self.graph_id, value)
        else:
            yield as_graph(self.graph_id, made)

    def _runtime(self, call: Call) -> Runtime:
        store = call.store if call.store is not None else InMemoryStore()
        if call.access_context != "threads.create_run":
            return _ReadRuntime(access_context=call.access_context, user=call.user, store=store)
        context = _typed_context(self.context_type, call.context)
        return _ExecutionRuntime(access_context=call.access_context, user=call.user, store=store, context=context)


def as_graph(graph_id: str, value: object) -> Graph:
    """The compiled graph that `value` is or describes. Raises NotAGraph."""
    if isinstance(value, Pregel):
        return value
    if isinstance(value, StateGraph):
        return value.compile()
    raise NotAGraph(graph_id, value)


def read_factory(graph_id: str, function: Callable[..., Any]) -> Factory:
    """Work out which arguments `function` takes.

    A parameter is the runtime if it is annotated with `ServerRuntime` or named `runtime`, and the config if it
    is annotated with `RunnableConfig`, named `config`, or the only one. Others must have a default.
    Raises TypeError for a signature that cannot be served.
    """
    required = [p for p in _parameters(function) if p.default is p.empty]
    config: str | None = None
    runtime: str | None = None
    context_type: Any = None
    for parameter in _parameters(function):
        asked = _server_runtime(parameter.annotation)
        if asked is not None or (parameter.name == "runtime" and not _is_config(parameter.annotation)):
            runtime, context_type = parameter.name, next(iter(get_args(asked)), None)
        elif _is_config(parameter.annotation) or parameter.name == "config" or required == [parameter]:
            config = parameter.name
        elif parameter.default is parameter.empty:
            raise TypeError(
                f"the factory asks for {parameter.name!r}; it may take `config`, `runtime`, both or nothing"
            )
    return Factory(graph_id, function, config, runtime, context_type)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:
        # An annotation that exists only for type checkers; names still decide.
        signature = inspect.signature(function)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise TypeError(f"the factory takes {parameter.name!r} by position only; remove the `/`")
    return [parameter for parameter in signature.parameters.values() if parameter.kind in named]


def _server_runtime(annotation: Any) -> Any:
    """The part of an annotation that asks for the server's runtime, such as `ServerRuntime[MyContext]`."""
    if annotation in _RUNTIMES or getattr(annotation, "__origin__", None) in _RUNTIMES:
        return annotation
    if isinstance(annotation, str):
        return annotation if "ServerRuntime" in annotation else None
    return next((found for part in get_args(annotation) if (found := _server_runtime(part)) is not None), None)


def _is_config(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return "RunnableConfig" in annotation
    return annotation is RunnableConfig or any(_is_config(part) for part in get_args(annotation))


def _typed_context(context_type: Any, context: Any) -> Any:
    """The run's context as the type the factory asked for; a TypedDict, or no type, leaves it as it is."""
    if not isinstance(context, Mapping) or not isinstance(context_type, type) or is_typeddict(context_type):
        return context
    if dataclasses.is_dataclass(context_type) or issubclass(context_type, BaseModel):
        return context_type(**context)
    return context
