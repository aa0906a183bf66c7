"""Owns the change of a thread's state from outside a run: head, checkpoint, event and thread in one commit.

Which graph is changed, and who is told afterwards, is left to `states`.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.errors import InvalidUpdateError
from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot, StateUpdate
from psycopg import AsyncConnection

from threadline.checkpoints.clock import raise_checkpoint_floor
from threadline.checkpoints.sealing import ordinal, seal_events
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of
from threadline.runs.commands import read_command
from threadline.runs.encoding import encode
from threadline.runs.errors import CheckpointNotFound, Invalid, InvalidState, ThreadBusy, ThreadNotFound
from threadline.runs.model import STATE_UPDATED, JsonObject, ThreadStatus
from threadline.runs.sealed_rows import seal_thread
from threadline.runs.state_view import view_config, view_interrupts

_SQL = load_statements("threadline.runs", "states.sql")

# The event of a state update belongs to no run.
NO_RUN = UUID(int=0)

# Seconds. An update runs the graph's reducers and routing functions while nobody else can use the thread.
UPDATE_TIMEOUT = 60.0

Superstep = Sequence[Mapping[str, Any]]


async def update_state(
    connection: AsyncConnection[Any],
    graph: Pregel[Any, Any, Any, Any],
    config: RunnableConfig,
    supersteps: Sequence[Superstep],
) -> RunnableConfig:
    """Apply `supersteps`, each a list of {values, command, as_node}, and return the new checkpoint's config.

    The graph's saver must write on `connection`, so that everything commits or nothing does. Raises
    ThreadNotFound, ThreadBusy, CheckpointNotFound, Invalid for what is no update, and InvalidState for an
    update that the graph refuses.
    """
    updates = [[_read_update(update) for update in superstep] for superstep in supersteps]
    thread_id = UUID(config["configurable"]["thread_id"])
    async with connection.transaction():
        epoch = await _take_head(connection, thread_id)
        await _check_base(connection, config["configurable"])
        try:
            async with asyncio.timeout(UPDATE_TIMEOUT):
                written = await graph.abulk_update_state(config, updates)
        except (InvalidUpdateError, ValueError, TypeError, LookupError, TimeoutError) as error:
            raise InvalidState(_refusal(error)) from error
        root: RunnableConfig = {"configurable": {"thread_id": str(thread_id), "checkpoint_ns": ""}}
        await _record(connection, thread_id, epoch, supersteps, written, await graph.aget_state(root))
    return written


def _read_update(update: Mapping[str, Any]) -> StateUpdate:
    command, as_node = update.get("command"), update.get("as_node")
    if as_node is not None and not isinstance(as_node, str):
        raise Invalid(f"as_node must name a node, not {as_node!r}")
    if command is None:
        return StateUpdate(update.get("values"), as_node)
    # LangGraph takes a command where it takes values; its annotation doesn't say so.
    values: Any = read_command(command)
    return StateUpdate(values, as_node)


def _refusal(error: Exception) -> str:
    """Say why: LangGraph's own text, or what a reducer or routing function raised."""
    if isinstance(error, InvalidUpdateError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"The graph took longer than {UPDATE_TIMEOUT:g} s to take the update in"
    return f"{type(error).__name__}: {error}"


async def _take_head(connection: AsyncConnection[Any], thread_id: UUID) -> int:
    """Lock the thread, and return its epoch."""
    cursor = await connection.execute(_SQL["lock_head"], {"thread_id": thread_id})
    head = await cursor.fetchone()
    if head is None:
        raise ThreadNotFound(thread_id)
    if head[0] > 0:
        raise ThreadBusy
    epoch: int = head[1]
    return epoch


async def _check_base(connection: AsyncConnection[Any], configurable: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that isn't there, and let none of the new ones sort below the latest."""
    cursor = await connection.execute(_SQL["latest_checkpoint_id"], configurable)
    if latest := await cursor.fetchone():
        raise_checkpoint_floor(latest[0])
    if wanted := configurable.get("checkpoint_id"):
        cursor = await connection.execute(_SQL["checkpoint_exists"], configurable)
        if await cursor.fetchone() is None:
            raise CheckpointNotFound(UUID(configurable["thread_id"]), wanted)


async def _record(
    connection: AsyncConnection[Any],
    thread_id: UUID,
    epoch: int,
    supersteps: Sequence[Superstep],
    written: RunnableConfig,
    snapshot: StateSnapshot,
) -> None:
    status = ThreadStatus.INTERRUPTED if snapshot.next else ThreadStatus.IDLE
    interrupts = {task.id: view_interrupts(task.interrupts) for task in snapshot.tasks if task.interrupts}
    try:
        values = encode(snapshot.values)
        payload = encode(_event(supersteps, written, snapshot, status, values))
        shown = encode(interrupts)
    except TypeError as error:
        raise InvalidState(f"The new state cannot be shown: {error}") from error
    vault = vault_of(connection)
    contents = [[STATE_UPDATED, len(payload), time.time_ns() // 1000]]
    texts = {"values": values.decode(), "interrupts": shown.decode()}
    parameters = {
        "thread_id": thread_id,
        "run_id": NO_RUN,
        "contents": encode(contents).decode(),
        "payload": await seal_events(vault, thread_id, NO_RUN, contents, payload, ordinal(epoch + 1)),
        "status": status.value,
        **await seal_thread(vault, thread_id, texts),
    }
    await connection.execute(_SQL["record_update"], parameters)


def _event(
    supersteps: Sequence[Superstep],
    written: RunnableConfig,
    snapshot: StateSnapshot,
    status: ThreadStatus,
    values: bytes,
) -> JsonObject:
    return {
        "checkpoint": view_config(written),
        "supersteps": supersteps,
        "status": status,
        "next": snapshot.next,
        "values": orjson.Fragment(values),
    }
