"""Owns the question which classes a graph may store in its checkpoints, for a strict deserialiser to allow.

It follows every annotation a graph declares. LangGraph's own list stops at `Sequence`, `Mapping` and other
abstract collections, at subclasses of a declared class, at subgraphs and at the results of tasks; a value it
leaves out comes back as a plain dict after a restart. How the list is applied is left to the saver.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from types import FunctionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import pydantic
from langgraph.func import _TaskFunction
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from typing_extensions import is_typeddict

Allowlist = frozenset[tuple[str, str]]

_SECRETS = (pydantic.SecretStr, pydantic.SecretBytes)


def schema_allowlist(graph: Pregel[Any, Any, Any, Any]) -> Allowlist:
    """The (module, name) of each data class that the graph, its subgraphs and its tasks declare.

    Data classes are dataclasses, pydantic models, named tuples, enums and pydantic's secrets, which are what
    the serialiser can rebuild. A value stored where the declaration says `Any` is not covered.
    """
    graphs = [graph, *(subgraph for _, subgraph in graph.get_subgraphs(recurse=True))]
    annotations = [annotation for part in graphs if isinstance(part, Pregel) for annotation in _declared(part)]
    classes = filter(_is_data_class, _reachable(annotations))
    return frozenset((cls.__module__, cls.__name__) for cls in classes)


def _declared(graph: Pregel[Any, Any, Any, Any]) -> Iterator[Any]:
    for channel in graph.channels.values():
        yield getattr(channel, "ValueType", None)
        yield getattr(channel, "UpdateType", None)
    if isinstance(graph, CompiledStateGraph):
        yield from graph.builder.schemas
    for node in graph.nodes.values():
        for function in (getattr(node.bound, "func", None), getattr(node.bound, "afunc", None)):
            yield from _task_results(function)


def _task_results(function: object) -> Iterator[Any]:
    """The declared results of the tasks that a node calls, directly or through functions of its own module."""
    pending, seen = [inspect.unwrap(function) if callable(function) else function], set()
    while pending:
        current = pending.pop()
        if not isinstance(current, FunctionType) or current in seen:
            continue
        seen.add(current)
        variables = inspect.getclosurevars(current)
        for value in [*variables.globals.values(), *variables.nonlocals.values()]:
            if isinstance(value, _TaskFunction):
                yield _hints(value.func).get("return")
                pending.append(value.func)
            elif isinstance(value, FunctionType) and value.__module__ == current.__module__:
                pending.append(value)


def _reachable(annotations: Iterable[Any]) -> Iterator[Any]:
    pending = list(annotations)
    # Keyed by id because annotations need not be hashable; holding them keeps their ids from being reused.
    seen: dict[int, Any] = {}
    while pending:
        annotation = pending.pop()
        if id(annotation) not in seen:
            seen[id(annotation)] = annotation
            yield annotation
            pending.extend(_parts(annotation))


def _parts(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Literal:
        return
    if origin is Annotated:
        yield get_args(annotation)[0]
        return
    yield origin
    yield from get_args(annotation)
    # An alias (`type X = ...`), a NewType and a TypeVar stand for something else.
    yield getattr(annotation, "__value__", None) if not isinstance(annotation, type) else None
    yield getattr(annotation, "__supertype__", None)
    if isinstance(annotation, TypeVar):
        yield annotation.__bound__
        yield from annotation.__constraints__
    if is_typeddict(annotation) or _is_data_class(annotation):
        yield from _field_types(annotation)
    if _is_data_class(annotation):
        yield from annotation.__subclasses__()


def _is_data_class(cls: Any) -> bool:
    if not isinstance(cls, type) or get_origin(cls) is not None:
        return False
    if issubclass(cls, pydantic.BaseModel):
        return not cls.__module__.startswith("pydantic.")
    is_named_tuple = issubclass(cls, tuple) and hasattr(cls, "_asdict")
    return (
        dataclasses.is_dataclass(cls)
        or is_named_tuple
        or _is_old_model(cls)
        or cls in _SECRETS
        or (issubclass(cls, Enum) and len(cls) > 0)
    )


def _is_old_model(cls: type) -> bool:
    return hasattr(cls, "__fields__") and hasattr(cls, "construct") and cls.__module__ != "pydantic.v1.main"


def _field_types(cls: type) -> Iterable[Any]:
    if issubclass(cls, pydantic.BaseModel):
        return [field.annotation for field in cls.model_fields.values()]
    hints = _hints(cls)
    if dataclasses.is_dataclass(cls):
        return [hints.get(field.name, field.type) for field in dataclasses.fields(cls)]
    names = getattr(cls, "__fields__", hints)
    return [hints.get(name) for name in names]


def _hints(thing: Callable[..., Any] | type) -> dict[str, Any]:
    try:
        return get_type_hints(thing, include_extras=True)
    except (NameError, TypeError):
        # A name that exists only for type checkers: what can't be resolved can't be listed.
        return {}
