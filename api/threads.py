"""Owns the routes of threads: create, find, label, remove."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header
from starlette.responses import Response

from threadline.api.dependencies import EngineDep, JsonBody, ThreadId
from threadline.api.responses import JsonResponse, page
from threadline.api.routing import DirectRoute
from threadline.api.schemas import ThreadCreate, ThreadFilter, ThreadPatch, ThreadSearch
from threadline.api.views import select, thread_view

router = APIRouter(prefix="/threads", tags=["Threads"], route_class=DirectRoute)


@router.post("", summary="Create a thread")
async def create_thread(body: Annotated[ThreadCreate, Depends(JsonBody(ThreadCreate))], engine: EngineDep) -> Response:
    thread = await engine.threads.create(body.thread_id, body.metadata, body.if_exists)
    return JsonResponse(thread_view(thread))


@router.post("/search", summary="Search threads")
async def search_threads(body: Annotated[ThreadSearch, Depends(JsonBody(ThreadSearch))], engine: EngineDep) -> Response:
    """Answer with a page of the threads that match, newest first unless told otherwise."""
    found = await engine.threads.search(
        metadata=body.metadata,
        values=body.values,
        status=body.status,
        ids=body.ids or (),
        limit=body.limit + 1,
        offset=body.offset,
        sort_by=body.sort_by,
        sort_order=body.sort_order,
    )
    views = [select(thread_view(thread), body.select) for thread in found]
    return page(views, limit=body.limit, offset=body.offset)


@router.post("/count", summary="Count threads")
async def count_threads(body: Annotated[ThreadFilter, Depends(JsonBody(ThreadFilter))], engine: EngineDep) -> Response:
    count = await engine.threads.count(metadata=body.metadata, values=body.values, status=body.status)
    return JsonResponse(count)


@router.get("/{thread_id}", summary="Get a thread")
async def get_thread(thread_id: ThreadId, engine: EngineDep) -> Response:
    return JsonResponse(thread_view(await engine.threads.get(thread_id)))


@router.patch("/{thread_id}", summary="Merge metadata into a thread's")
async def patch_thread(
    thread_id: ThreadId,
    body: Annotated[ThreadPatch, Depends(JsonBody(ThreadPatch))],
    engine: EngineDep,
    prefer: Annotated[str | None, Header(description="`return=minimal` answers without the thread.")] = None,
) -> Response:
    thread = await engine.threads.patch(thread_id, body.metadata)
    is_minimal = prefer is not None and "return=minimal" in prefer
    return Response(status_code=204) if is_minimal else JsonResponse(thread_view(thread))


@router.delete("/{thread_id}", summary="Delete a thread", status_code=204)
async def delete_thread(thread_id: ThreadId, engine: EngineDep) -> Response:
    """Remove the thread with its runs, events and checkpoints."""
    await engine.threads.delete(thread_id)
    return Response(status_code=204)
