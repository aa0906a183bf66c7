"""Owns answers that hold less than everything: chosen fields, and places within a thread that a path names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from threadline.runs.model import JsonObject

_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>-?\d{1,9})\]")


def extract(view: JsonObject, paths: Mapping[str, str]) -> JsonObject:
    """Return what is at each path, such as `values.messages[-1].content`, by its alias; None where nothing is."""
    return {alias: _follow(view, path) for alias, path in paths.items()}


def _follow(view: JsonObject, path: str) -> Any:
    root = re.split(r"[.\[]", path, maxsplit=1)[0]
    value: Any = view.get(root)
    position = len(root)
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return None
        value = _take(value, step)
        position = step.end()
    return value


def _take(value: Any, step: re.Match[str]) -> Any:
    if step["name"] is not None:
        return value.get(step["name"]) if isinstance(value, Mapping) else None
    index = int(step["index"])
    if isinstance(value, list) and -len(value) <= index < len(value):
        return value[index]
    return None


def select_state(state: JsonObject, names: Sequence[str]) -> JsonObject:
    """Return only these fields of a state, all of them without names; `values.<key>` is one of its values."""
    if not names:
        return state
    shown = {name: state[name] for name in names if name in state}
    keys = [name.removeprefix("values.") for name in names if name.startswith("values.")]
    values = state["values"]
    if keys and "values" not in shown:
        shown["values"] = {key: _value(values, key) for key in keys if _has(values, key)}
    if "graph_error" in state:
        shown["graph_error"] = state["graph_error"]
    return shown


def _has(values: Any, key: str) -> bool:
    return key in values if isinstance(values, Mapping) else hasattr(values, key)


def _value(values: Any, key: str) -> Any:
    return values[key] if isinstance(values, Mapping) else getattr(values, key)
