"""Owns what becomes of a request for a run when somebody sends it: permitted, labelled, and told who sent it.

Accepting it is admission's; what the handlers say is theirs.
"""

from dataclasses import replace
from typing import Any

from threadline.checkpoints.pool import Connections
from threadline.checkpoints.statements import load_statements
from threadline.graphs.auth import Refused
from threadline.runs.callers import Caller, clear_thread, with_caller, without_reserved
from threadline.runs.encoding import encode
from threadline.runs.errors import ThreadNotFound
from threadline.runs.metadata import encode_metadata
from threadline.runs.model import JsonObject, MultitaskStrategy, RunRequest

_SQL = load_statements("threadline.runs", "callers.sql")


async def permit_request(
    pool: Connections, caller: Caller, request: RunRequest, transaction: Connections | None = None
) -> RunRequest:
    """Return the request as its caller may make it.

    A thread that does not exist yet is created here, with the labels that make it the caller's: in `transaction`,
    if there is one, which is asked for no sooner. Raises ThreadNotFound for a thread of somebody else, and what the
    rules raise.
    """
    request = replace(request, kwargs=_told(request.kwargs))
    if caller.rules is None:
        return request
    creates = request.fresh_thread or request.create_thread
    if not request.fresh_thread:
        await clear_thread(pool, request.thread_id)
    value = _value(request)
    granted = await caller.permit("threads", "create_run", value)
    metadata: JsonObject = value.get("metadata") or {}
    if creates:
        stamped = {key: item for key, item in metadata.items() if request.metadata.get(key) != item}
        labels = {**stamped, **granted, **await _creator_labels(caller, request)}
        pool = transaction or pool  # which alone sees the thread from here on
        if not await _create_thread(pool, request, labels):
            # Somebody else made it meanwhile, so it is theirs until the rules say otherwise.
            await clear_thread(pool, request.thread_id)
    if granted and not await _contains(pool, request, granted):
        raise ThreadNotFound(request.thread_id)
    caller.clear(request.thread_id, "delete" if request.fresh_thread else "read")
    return replace(request, metadata=metadata, fresh_thread=False, create_thread=False)


def _told(kwargs: JsonObject) -> JsonObject:
    config: JsonObject = kwargs.get("config") or {}
    told = {**kwargs, "config": {**config, "configurable": with_caller(config.get("configurable") or {})}}
    if context := kwargs.get("context"):
        told["context"] = without_reserved(context)
    return told


def _value(request: RunRequest) -> JsonObject:
    """What is to be done, as the handlers of `threads.create_run` know it."""
    return {
        "run_id": request.run_id,
        "thread_id": request.thread_id,
        "assistant_id": request.assistant_id,
        "metadata": dict(request.metadata),
        "kwargs": request.kwargs,
        "multitask_strategy": str(request.multitask_strategy),
        "prevent_insert_if_inflight": request.multitask_strategy is MultitaskStrategy.REJECT,
        "if_not_exists": "create" if request.create_thread or request.fresh_thread else "reject",
        "after_seconds": int(request.delay.total_seconds()),
        "status": "pending",
    }


async def _creator_labels(caller: Caller, request: RunRequest) -> JsonObject:
    """Return what `threads.create` would label the thread with; who may not create one may still run without."""
    value: dict[str, Any] = {"thread_id": request.thread_id, "metadata": {}, "if_exists": "do_nothing"}
    try:
        granted = await caller.permit("threads", "create", value)
    except Refused:
        if request.fresh_thread:
            return {}
        raise
    return {**granted, **(value.get("metadata") or {})}


async def _create_thread(pool: Connections, request: RunRequest, labels: JsonObject) -> bool:
    """Return whether the thread was not there yet."""
    parameters = {
        "thread_id": request.thread_id,
        "metadata": encode_metadata(labels),
        "hidden": request.hidden_thread,
    }
    async with pool.connection() as connection:
        cursor = await connection.execute(_SQL["own_thread"], parameters)
        return await cursor.fetchone() is not None


async def _contains(pool: Connections, request: RunRequest, granted: JsonObject) -> bool:
    """Whether the thread lets the caller in; one that is missing is admission's to tell."""
    async with pool.connection() as connection:
        parameters = {"id": request.thread_id, "granted": encode(granted).decode()}
        cursor = await connection.execute(_SQL["thread_matches"], parameters)
        row = await cursor.fetchone()
    return row is None or bool(row[0])
