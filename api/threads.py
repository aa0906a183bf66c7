"""Owns the routes of threads: create, find, label, copy, measure, prune, remove."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from threadline.api.dependencies import EngineDep, JsonBody, ThreadId
from threadline.api.errors import BadValue
from threadline.api.idempotency import AGAIN, FIRST, KeyDep
from threadline.api.projections import extract
from threadline.api.responses import JsonResponse, page
from threadline.api.routing import DirectRoute
from threadline.api.thread_schemas import (
    ThreadCreate,
    ThreadFilter,
    ThreadPatch,
    ThreadPrune,
    ThreadSearch,
    superstep_updates,
)
from threadline.api.views import select, thread_view, ttl_view
from threadline.checkpoints.pool import Connections
from threadline.runs.engine import Engine
from threadline.runs.errors import ThreadExists, ThreadNotFound
from threadline.runs.idempotency import Ids, Key, Keyed, MadeAndGone, ids_of
from threadline.runs.identity import uuid7
from threadline.runs.model import JsonObject, Thread, Ttl
from threadline.runs.threads import Threads

router = APIRouter(prefix="/threads", tags=["Threads"], route_class=DirectRoute)


@router.post("", summary="Create a thread")
async def create_thread(
    body: Annotated[ThreadCreate, Depends(JsonBody(ThreadCreate))], engine: EngineDep, key: KeyDep
) -> Response:
    """Create a thread; with `supersteps` it begins with that past, or is not created at all."""
    if key is None:
        return JsonResponse(thread_view(await _create(body, engine, engine.threads)))
    return await _answer(engine, key, lambda made: _create(body, engine, engine.threads.within(made), made))


async def _create(
    body: ThreadCreate, engine: Engine, threads: Threads, transaction: Connections | None = None
) -> Thread:
    ttl = body.ttl.read() if body.ttl else Ttl()
    if not body.supersteps:
        return await threads.create(body.thread_id, body.metadata, body.if_exists, ttl)
    thread_id = body.thread_id or uuid7()
    try:
        updates = superstep_updates(body.supersteps)
        await engine.states.create_thread(thread_id, body.metadata, updates, ttl, transaction)
    except ThreadExists:
        if body.if_exists == "raise":
            raise
    return await threads.get(thread_id)


async def _answer(engine: Engine, key: Key, create: Callable[[Keyed], Awaitable[Thread]]) -> Response:
    """Answer with the thread that is created, or with the one that was created under the key, as it is now."""

    async def find(made: Sequence[Ids]) -> Thread:
        try:
            return await engine.threads.get(UUID(made[0]["thread_id"]))
        except ThreadNotFound:
            raise MadeAndGone("Thread", made[0]["thread_id"]) from None

    thread, replayed = await engine.keys.once(key, create, lambda made: [ids_of(thread_id=made.thread_id)], find)
    return JsonResponse(thread_view(thread), headers=AGAIN if replayed else FIRST)


@router.post("/search", summary="Search threads")
async def search_threads(body: Annotated[ThreadSearch, Depends(JsonBody(ThreadSearch))], engine: EngineDep) -> Response:
    """Answer with a page of the threads that match, newest first unless told otherwise."""
    found = await engine.threads.search(
        metadata=body.metadata,
        values=body.values,
        status=body.status,
        ids=[_read_id(text) for text in body.ids or ()],
        limit=body.limit + 1,
        offset=body.offset,
        sort_by=body.sort_by,
        sort_order=body.sort_order,
    )
    views = [_show(thread, body) for thread in found]
    return page(views, limit=body.limit, offset=body.offset)


@router.post("/count", summary="Count threads")
async def count_threads(body: Annotated[ThreadFilter, Depends(JsonBody(ThreadFilter))], engine: EngineDep) -> Response:
    count = await engine.threads.count(metadata=body.metadata, values=body.values, status=body.status)
    return JsonResponse(count)


@router.post("/prune", summary="Delete threads, or all of them but their latest state")
async def prune_threads(body: Annotated[ThreadPrune, Depends(JsonBody(ThreadPrune))], engine: EngineDep) -> Response:
    """Answer with how many; unknown threads are skipped, and so is what is at work when its state is to be kept."""
    return JsonResponse({"pruned_count": await engine.retention.prune(body.thread_ids, body.strategy)})


@router.get("/{thread_id}", summary="Get a thread")
async def get_thread(
    thread_id: ThreadId,
    engine: EngineDep,
    include: Annotated[str, Query(description="`ttl` to show the time to live, too.")] = "",
) -> Response:
    thread = await engine.threads.get(thread_id)
    with_ttl = "ttl" in include.split(",")
    return JsonResponse(thread_view(thread) | ({"ttl": ttl_view(thread)} if with_ttl else {}))


@router.get("/{thread_id}/storage", summary="Measure what a thread takes")
async def measure_thread(thread_id: ThreadId, engine: EngineDep) -> Response:
    """Answer with the bytes of all rows of the thread as they are stored, of values by channel."""
    return JsonResponse(await engine.threads.measure(thread_id))


@router.post("/{thread_id}/copy", summary="Copy a thread")
async def copy_thread(thread_id: ThreadId, engine: EngineDep, key: KeyDep) -> Response:
    """Make a thread with the same metadata, state and past; runs and their events stay with the original."""
    if key is None:
        return JsonResponse(thread_view(await engine.threads.copy(thread_id)))
    return await _answer(engine, key, lambda made: engine.threads.within(made).copy(thread_id))


@router.patch("/{thread_id}", summary="Merge metadata into a thread's")
async def patch_thread(
    thread_id: ThreadId,
    body: Annotated[ThreadPatch, Depends(JsonBody(ThreadPatch))],
    engine: EngineDep,
    prefer: Annotated[str | None, Header(description="`return=minimal` answers without the thread.")] = None,
) -> Response:
    """Merge metadata; a `ttl` begins anew."""
    thread = await engine.threads.patch(thread_id, body.metadata, body.ttl.read() if body.ttl else Ttl())
    is_minimal = prefer is not None and "return=minimal" in prefer
    return Response(status_code=204) if is_minimal else JsonResponse(thread_view(thread))


@router.delete("/{thread_id}", summary="Delete a thread", status_code=204)
async def delete_thread(thread_id: ThreadId, engine: EngineDep) -> Response:
    """Remove the thread with its runs, events and checkpoints."""
    await engine.threads.delete(thread_id)
    return Response(status_code=204)


def _show(thread: Thread, body: ThreadSearch) -> JsonObject:
    view = thread_view(thread)
    return select(view, body.select) | ({"extracted": extract(view, body.extract)} if body.extract else {})


def _read_id(text: str) -> UUID:
    """Return the id of a thread. Raises BadValue."""
    try:
        return UUID(text)
    except ValueError:
        raise BadValue(f"Invalid thread ID {text[:100]}") from None
