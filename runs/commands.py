"""Owns the reading of a client's `command` into LangGraph's; what it does to a graph is LangGraph's."""

from collections.abc import Mapping
from typing import Any

from langgraph.types import Command, Send

from threadline.runs.errors import Invalid


def read_command(command: Any) -> Command[Any]:
    """Return the command of `{update, resume, goto}`; a `goto` is a node, `{node, input}` or a list of these.

    Other keys are ignored, as everywhere on the wire. Raises Invalid for what has not that form.
    """
    if not isinstance(command, Mapping):
        raise Invalid(f"command must be an object of update, resume and goto, not {command!r}")
    goto = command.get("goto")
    if not isinstance(goto, list):
        goto = [] if goto is None else [goto]
    return Command(
        update=_read_update(command.get("update")),
        resume=command.get("resume"),
        goto=tuple(_read_target(target) for target in goto),
    )


def _read_update(update: Any) -> Any:
    # JSON has no tuples, and LangGraph takes a list for values unless it holds (key, value) tuples.
    if isinstance(update, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in update):
        return [tuple(pair) for pair in update]
    return update


def _read_target(target: Any) -> str | Send:
    if isinstance(target, str):
        return target
    if isinstance(target, Mapping) and isinstance(target.get("node"), str):
        return Send(target["node"], target.get("input"))
    raise Invalid(f"command.goto must name nodes or hold {{node, input}} objects, not {target!r}")
