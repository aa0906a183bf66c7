"""Owns what is done to a thread under its head's lock in a caller's transaction: placing a run, superseding others.

The fast way in, many runs in one statement, is `admission`'s.
"""

from time import time_ns
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from threadline.checkpoints.sealing import open_text, ordinal, seal_events, thread_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import sealing_in, vault_of
from threadline.runs.admission import make_run
from threadline.runs.encoding import encode
from threadline.runs.errors import ThreadBusy, ThreadNotFound
from threadline.runs.model import (
    LIFECYCLE,
    RUN_ENDED,
    CancelAction,
    MultitaskStrategy,
    Run,
    RunRequest,
    RunStatus,
    ThreadStatus,
)
from threadline.runs.outcome import Outcome, lifecycle
from threadline.runs.sealed_rows import seal_run

_SQL = load_statements("threadline.runs", "queue.sql")

Connection = AsyncConnection[Any]
SUPERSEDING = (MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK)


class Head(NamedTuple):
    """A thread's locked head row, as `queue.sql` returns it."""

    last_seq: int
    run_id: UUID | None
    epoch: int
    inflight: int
    cancel: str | None
    has_checkpoint: bool


class Placed(NamedTuple):
    """A run that was accepted, and the one that was asked to make place for it."""

    run: Run
    superseded: UUID | None


async def lock_head(connection: Connection, thread_id: UUID) -> Head | None:
    """Lock the thread to the end of the transaction; None when there is no such thread."""
    cursor = await connection.execute(_SQL["lock_head"], {"thread_id": thread_id})
    row = await cursor.fetchone()
    return Head(*row) if row else None


async def place(connection: Connection, request: RunRequest) -> Placed:
    """Accept a run as pending, after what its strategy asks of the thread's others was done.

    To be decided on the locked head, all of it is one transaction: the caller's. Raises ThreadNotFound and ThreadBusy.
    """
    if request.fresh_thread:
        parameters = {"thread_id": request.thread_id, "hidden": request.hidden_thread}
        await connection.execute(_SQL["open_thread"], parameters)
    head = await lock_head(connection, request.thread_id)
    if head is None:
        raise ThreadNotFound(request.thread_id)
    if request.multitask_strategy is MultitaskStrategy.REJECT and head.inflight:
        raise ThreadBusy
    superseded = None
    if request.multitask_strategy in SUPERSEDING:
        superseded = await _supersede(connection, request.thread_id, head, CancelAction(request.multitask_strategy))
    parameters = _bind(request)
    kwargs = encode(request.kwargs).decode()
    parameters["kwargs"] = await seal_run(vault_of(connection), request.run_id, "kwargs", kwargs)
    cursor = await connection.execute(_SQL["place"], parameters)
    row = await cursor.fetchone()
    assert row is not None
    return Placed(make_run(request, *row), superseded)


async def _supersede(connection: Connection, thread_id: UUID, head: Head, action: CancelAction) -> UUID | None:
    """End what waits on the thread and ask what runs to stop; returns the latter."""
    cursor = await connection.execute(_SQL["pending_runs"], {"thread_id": thread_id})
    for (run_id,) in await cursor.fetchall():
        await end_pending(connection, thread_id, run_id, action)
    if head.run_id is not None:
        parameters = {"thread_id": thread_id, "run_id": head.run_id, "action": str(action)}
        await connection.execute(_SQL["request_cancel"], parameters)
    return head.run_id


async def end_pending(connection: Connection, thread_id: UUID, run_id: UUID, action: CancelAction) -> None:
    """Under the head's lock, which is read again: every ended run has moved its last number."""
    head = await lock_head(connection, thread_id)
    assert head is not None
    cursor = await connection.execute(_SQL["read_pending"], {"run_id": run_id})
    row = await cursor.fetchone()
    if row is not None:
        graph_id, values, context = row
        with sealing_in(context):
            end = await _describe_end(connection, thread_id, run_id, head, graph_id, values)
        await connection.execute(_SQL["end_pending"], end)
    if action is CancelAction.ROLLBACK:
        await connection.execute(_SQL["delete_run"], {"thread_id": thread_id, "run_id": run_id})


async def _describe_end(
    connection: Connection, thread_id: UUID, run_id: UUID, head: Head, graph_id: str, values: str | None
) -> dict[str, Any]:
    """Return the parameters of `end_pending`: how the protocol tells of it, and the end with the thread's values."""
    vault = vault_of(connection)
    outcome = Outcome(RunStatus.INTERRUPTED, ThreadStatus.INTERRUPTED)
    answer = await open_text(vault, thread_place("values", thread_id), values)
    events = [(LIFECYCLE, encode(lifecycle(outcome, graph_id))), (RUN_ENDED, (answer or "{}").encode())]
    now = time_ns() // 1000
    contents = [[name, len(data), now] for name, data in events]
    payload = b"".join(data for _, data in events)
    at = ordinal(head.epoch + 1)
    return {
        "thread_id": thread_id,
        "run_id": run_id,
        "last_seq": head.last_seq,
        "contents": encode(contents).decode(),
        "payload": await seal_events(vault, thread_id, run_id, contents, payload, at),
    }


def _bind(request: RunRequest) -> dict[str, Any]:
    return {
        "run_id": request.run_id,
        "thread_id": request.thread_id,
        "assistant_id": request.assistant_id,
        "graph_id": request.graph_id,
        "inherited": encode(request.inherited_metadata).decode(),
        "metadata": encode(request.metadata).decode(),
        "thread_metadata": encode(request.thread_metadata).decode(),
        "strategy": str(request.multitask_strategy),
        "webhook": request.webhook,
        "delay": request.delay.total_seconds(),
    }
