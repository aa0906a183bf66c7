"""Owns the form in which clients see a thread's state, and the form in which they point at a checkpoint.

The results hold the state's own values (messages, models): `runs.encoding.encode` turns them into JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from threadline.checkpoints.pending import pending_nodes
from threadline.runs.errors import Invalid
from threadline.runs.metadata import refuse_unstorable
from threadline.runs.model import JsonObject

if TYPE_CHECKING:  # most of half a second, of which commands that only read need nothing
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointTuple
    from langgraph.types import Interrupt, PregelTask, StateSnapshot

# A checkpoint as clients name it: its id, or {checkpoint_id, checkpoint_ns, checkpoint_map}, which some
# clients wrap in {configurable}.
CheckpointReference = str | Mapping[str, Any]

_REFERENCE = {"checkpoint_ns": str, "checkpoint_id": str, "checkpoint_map": dict}
_SHOWN = ("checkpoint_id", "thread_id", "checkpoint_ns", "checkpoint_map")
# Channels that LangGraph keeps beside the state's own: edges, waiting edges and its internals.
_INTERNAL = ("__", "branch:", "join:", "start:")


def checkpoint_config(thread_id: UUID, reference: CheckpointReference | None = None) -> RunnableConfig:
    """Return LangGraph's config for a checkpoint of the thread, the latest unless one is named.

    A `thread_id` in the reference is ignored. Raises Invalid for a reference that is none.
    """
    given: Any = {"checkpoint_id": reference} if isinstance(reference, str) else reference or {}
    if isinstance(given, Mapping):
        given = given.get("configurable", given)
    if not isinstance(given, Mapping):
        raise Invalid(f"checkpoint must be an id or {{checkpoint_id, checkpoint_ns}}, not {given!r}")
    configurable: JsonObject = {"thread_id": str(thread_id), "checkpoint_ns": ""}
    for key, kind in _REFERENCE.items():
        value = given.get(key)
        if value is None:
            continue
        if not isinstance(value, kind):
            raise Invalid(f"checkpoint.{key} must be of type {kind.__name__}, not {value!r}")
        refuse_unstorable(value, f"checkpoint.{key}")
        configurable[key] = value
    return {"configurable": configurable}


def view_config(config: Mapping[str, Any] | None) -> JsonObject | None:
    """Return what clients see of a checkpoint's config."""
    if config is None:
        return None
    configurable = config.get("configurable", {})
    return {key: configurable[key] for key in _SHOWN if key in configurable}


def view_state(snapshot: StateSnapshot) -> JsonObject:
    """Return a snapshot as the wire's ThreadState."""
    if snapshot.created_at is None:
        return _state(snapshot.values, None, None, None, None)
    return _state(
        snapshot.values,
        snapshot.metadata,
        snapshot.created_at,
        view_config(snapshot.config),
        view_config(snapshot.parent_config),
    ) | {
        "next": list(snapshot.next),
        "tasks": [_task(task) for task in snapshot.tasks],
        "interrupts": view_interrupts(snapshot.interrupts),
    }


def view_checkpoint(saved: CheckpointTuple | None, reason: str) -> JsonObject:
    """Return a checkpoint as a ThreadState without asking its graph, which is not there for `reason`.

    What comes next and which questions are open is what the checkpoint says; `tasks`, which only the graph knows, are
    empty, and `graph_error` says why.
    """
    if saved is None:
        return _state({}, None, None, None, None)
    asked = [each for _, channel, value in saved.pending_writes or () if channel == "__interrupt__" for each in value]
    return _state(
        visible_values(saved.checkpoint["channel_values"]),
        saved.metadata,
        saved.checkpoint["ts"],
        view_config(saved.config),
        view_config(saved.parent_config),
    ) | {
        "next": list(pending_nodes(saved.checkpoint)),
        "interrupts": view_interrupts(tuple(asked)),
        "graph_error": reason,
    }


def visible_values(channels: Mapping[str, Any]) -> Any:
    """Return the state's own values among a checkpoint's, without asking its graph."""
    values = {name: value for name, value in channels.items() if not name.startswith(_INTERNAL)}
    return channels.get("__root__", values)


def view_interrupts(interrupts: tuple[Interrupt, ...]) -> list[JsonObject]:
    """Return interrupts as clients answer them; a schema for the answer is there if the graph gave one."""
    return [
        {"id": interrupt.id, "value": interrupt.value}
        | ({"response_schema": interrupt.response_schema} if interrupt.response_schema else {})
        for interrupt in interrupts
    ]


def _state(
    values: Any,
    metadata: Mapping[str, Any] | None,
    created_at: str | None,
    checkpoint: JsonObject | None,
    parent: JsonObject | None,
) -> JsonObject:
    return {
        "values": values,
        "next": [],
        "tasks": [],
        "metadata": metadata,
        "created_at": created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "interrupts": [],
        "checkpoint_id": checkpoint["checkpoint_id"] if checkpoint else None,
        "parent_checkpoint_id": parent["checkpoint_id"] if parent else None,
    }


def _task(task: PregelTask) -> JsonObject:
    nested = None if task.state is None or isinstance(task.state, dict) else task.state
    return {
        "id": task.id,
        "name": task.name,
        "path": task.path,
        "error": repr(task.error) if isinstance(task.error, BaseException) else task.error,
        "interrupts": view_interrupts(task.interrupts),
        "checkpoint": view_config(task.state) if isinstance(task.state, dict) else None,
        "state": view_state(nested) if nested else None,
        "result": task.result,
    }
