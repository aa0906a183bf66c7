"""Owns the proof that a graph's schemas are told whatever its types are made of, and never stop the others."""

import operator
import typing
from typing import Annotated, Any

import typing_extensions
from langgraph.graph import START, StateGraph
from pydantic import BaseModel

from threadline.runs.blueprints import read_schemas


class Plain(typing.TypedDict, total=False):
    """What is worked on."""

    n: int
    log: Annotated[list[str], operator.add]


class Strict(typing.TypedDict):
    k: str
    maybe: typing_extensions.NotRequired[int]


class Extended(typing_extensions.TypedDict, total=False):
    """What is worked on."""

    n: int
    log: Annotated[list[str], operator.add]


class Model(BaseModel):
    n: int = 3


class Opaque:
    """No schema says what this is."""


class Odd(typing_extensions.TypedDict):
    opaque: Opaque


def schemas(state: Any, context: Any = None) -> dict[str, Any]:
    builder = StateGraph(state, context_schema=context).add_node("go", lambda state: {}).add_edge(START, "go")
    return read_schemas(builder.compile(name="odd"))


def test_both_kinds_of_typed_dictionaries_are_told_alike() -> None:
    plain, extended = schemas(Plain, Strict), schemas(Extended, Strict)
    for name in ("input_schema", "output_schema"):
        assert plain[name] == {**extended[name], "title": "Plain"}
    assert plain["state_schema"] == extended["state_schema"]
    assert plain["context_schema"]["required"] == ["k"]
    assert set(plain["config_schema"]["properties"]) == {"k", "maybe"}


def test_models_are_told_with_their_defaults() -> None:
    assert schemas(Model)["input_schema"]["properties"]["n"]["default"] == 3


def test_what_has_no_schema_is_null_beside_the_others() -> None:
    told = schemas(Odd, Model)
    assert (told["input_schema"], told["state_schema"]) == (None, None)
    assert told["context_schema"]["title"] == "Model"
