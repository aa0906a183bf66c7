"""Owns the routes of crons: runs that start at set times, on a thread or on one of their own."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from threadline.api.cron_requests import cron_to_create, patched_kwargs, shown_payload
from threadline.api.cron_schemas import CronCreate, CronFilter, CronPatch, CronSearch
from threadline.api.dependencies import CronId, EngineDep, FireId, JsonBody, PageLimit, PageOffset, ThreadId
from threadline.api.errors import EmptyRequest
from threadline.api.idempotency import AGAIN, FIRST, KeyDep
from threadline.api.responses import JsonResponse, page
from threadline.api.routing import DirectRoute
from threadline.api.views import cron_view, fire_view, select
from threadline.runs.crons import Cron, CronNotFound, Crons
from threadline.runs.engine import Engine
from threadline.runs.errors import AssistantNotFound, UnknownGraph
from threadline.runs.fires import Fires, FireStatus
from threadline.runs.idempotency import Ids, Key, Keyed, MadeAndGone, ids_of

router = APIRouter(tags=["Crons"], route_class=DirectRoute)

CronCreateBody = Annotated[CronCreate, Depends(JsonBody(CronCreate))]


@router.post("/runs/crons", summary="Create a cron whose runs get threads of their own")
async def create_cron(body: CronCreateBody, engine: EngineDep, key: KeyDep) -> Response:
    return await _answer(body, None, engine, key)


@router.post("/threads/{thread_id}/runs/crons", summary="Create a cron on a thread")
async def create_thread_cron(thread_id: ThreadId, body: CronCreateBody, engine: EngineDep, key: KeyDep) -> Response:
    return await _answer(body, thread_id, engine, key)


async def _answer(body: CronCreate, thread_id: UUID | None, engine: Engine, key: Key | None) -> Response:
    if key is None:
        return JsonResponse(cron_view(await _create(body, thread_id, engine, engine.crons)))

    async def create(transaction: Keyed) -> Cron:
        return await _create(body, thread_id, engine, engine.crons.within(transaction))

    async def find(made: Sequence[Ids]) -> Cron:
        try:
            return await engine.crons.get(UUID(made[0]["cron_id"]))
        except CronNotFound:
            raise MadeAndGone("Cron", made[0]["cron_id"]) from None

    cron, replayed = await engine.keys.once(key, create, lambda made: [ids_of(cron_id=made.cron_id)], find)
    return JsonResponse(cron_view(cron), headers=AGAIN if replayed else FIRST)


async def _create(body: CronCreate, thread_id: UUID | None, engine: Engine, crons: Crons) -> Cron:
    try:
        assistant = await engine.assistants.get(body.assistant_id)
    except UnknownGraph:
        raise AssistantNotFound(body.assistant_id) from None
    if body.webhook is not None:
        await engine.webhooks.policy.check(body.webhook)
    return await crons.create(cron_to_create(body, assistant, thread_id))


@router.post("/runs/crons/search", summary="Search crons")
async def search_crons(body: Annotated[CronSearch, Depends(JsonBody(CronSearch))], engine: EngineDep) -> Response:
    """Answer with a page of the crons that match, newest first unless told otherwise."""
    found = await engine.crons.search(
        assistant_id=await _assistant_id(body, engine),
        thread_id=body.thread_id,
        enabled=body.enabled,
        metadata=body.metadata,
        limit=body.limit + 1,
        offset=body.offset,
        sort_by=body.sort_by,
        sort_order=body.sort_order,
    )
    return page([select(cron_view(cron), body.select) for cron in found], limit=body.limit, offset=body.offset)


@router.post("/runs/crons/count", summary="Count crons")
async def count_crons(body: Annotated[CronFilter, Depends(JsonBody(CronFilter))], engine: EngineDep) -> Response:
    assistant_id = await _assistant_id(body, engine)
    count = await engine.crons.count(assistant_id=assistant_id, thread_id=body.thread_id, metadata=body.metadata)
    return JsonResponse(count)


async def _assistant_id(body: CronFilter, engine: Engine) -> UUID | None:
    return (await engine.assistants.get(body.assistant_id)).assistant_id if body.assistant_id is not None else None


@router.get("/runs/crons/{cron_id}", summary="Get a cron")
async def get_cron(cron_id: CronId, engine: EngineDep) -> Response:
    return JsonResponse(cron_view(await engine.crons.get(cron_id)))


@router.get("/runs/crons/{cron_id}/fires", summary="List what became of a cron's moments")
async def list_fires(
    cron_id: CronId,
    engine: EngineDep,
    status: Annotated[
        FireStatus | None, Query(description="Those whose run is still to be made, was made, left out, or given up.")
    ] = None,
    limit: PageLimit = 10,
    offset: PageOffset = 0,
) -> Response:
    """Answer with a page of the moments at which the cron fell due, the latest first: which run, or why none."""
    await engine.crons.get(cron_id)
    found = await Fires(engine.pool, engine.crons.on_change).search(
        cron_id, status=status, limit=limit + 1, offset=offset
    )
    return page([fire_view(fire) for fire in found], limit=limit, offset=offset)


@router.post("/runs/crons/{cron_id}/fires/{fire_id}/retry", summary="Try a cron's moment again", status_code=202)
async def retry_fire(cron_id: CronId, fire_id: FireId, engine: EngineDep) -> Response:
    """Let a moment that has no run be tried again now, with all its attempts before it."""
    await engine.crons.get(cron_id)
    return JsonResponse(fire_view(await Fires(engine.pool, engine.crons.on_change).retry(cron_id, fire_id)), 202)


@router.patch("/runs/crons/{cron_id}", summary="Change a cron")
async def patch_cron(
    cron_id: CronId, body: Annotated[CronPatch, Depends(JsonBody(CronPatch))], engine: EngineDep
) -> Response:
    """Replace what is named, apart from metadata, which is merged; the next time is made anew."""
    if not body.model_fields_set:
        await engine.crons.get(cron_id)
        raise EmptyRequest("Request body cannot be empty")
    if body.webhook is not None:
        await engine.webhooks.policy.check(body.webhook)
    given = {name: getattr(body, name) for name in body.model_fields_set}
    changes = {name: value for name, value in given.items() if value is not None or name in ("end_time", "timezone")}
    cron = await engine.crons.patch(cron_id, changes, body.metadata, shown_payload(body), patched_kwargs(body))
    return JsonResponse(cron_view(cron))


@router.delete("/runs/crons/{cron_id}", summary="Delete a cron", status_code=204)
async def delete_cron(cron_id: CronId, engine: EngineDep) -> Response:
    """Remove the cron; runs that it started stay."""
    await engine.crons.delete(cron_id)
    return Response(status_code=204)
