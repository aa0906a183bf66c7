"""Owns the routes of a thread's state: read it, read its past, change it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from threadline.api.dependencies import CheckpointId, EngineDep, JsonBody, PageLimit, StateFields, Subgraphs, ThreadId
from threadline.api.projections import select_state
from threadline.api.responses import JsonResponse
from threadline.api.routing import DirectRoute
from threadline.api.thread_schemas import HistorySearch, StateAt, StateUpdate

router = APIRouter(prefix="/threads/{thread_id}", tags=["Thread states"], route_class=DirectRoute)


@router.get("/state", summary="Get a thread's state")
async def get_state(
    thread_id: ThreadId, engine: EngineDep, fields: StateFields, subgraphs: Subgraphs = False
) -> Response:
    return JsonResponse(select_state(await engine.states.get(thread_id, subgraphs=subgraphs), fields))


@router.post("/state", summary="Update a thread's state")
async def update_state(
    thread_id: ThreadId, body: Annotated[StateUpdate, Depends(JsonBody(StateUpdate))], engine: EngineDep
) -> Response:
    """Write values as if a node had returned them; at an older checkpoint that is a fork."""
    checkpoint = body.checkpoint or body.checkpoint_id
    written = await engine.states.update(thread_id, body.values, as_node=body.as_node, checkpoint=checkpoint)
    return JsonResponse(written)


@router.post("/state/checkpoint", summary="Get the state at a checkpoint")
async def get_state_at(
    thread_id: ThreadId, body: Annotated[StateAt, Depends(JsonBody(StateAt))], engine: EngineDep
) -> Response:
    state = await engine.states.get(thread_id, body.checkpoint, subgraphs=body.subgraphs)
    return JsonResponse(select_state(state, body.select))


@router.get("/state/{checkpoint_id}", summary="Get the state at a checkpoint of the root graph")
async def get_state_at_id(
    thread_id: ThreadId,
    checkpoint_id: CheckpointId,
    engine: EngineDep,
    fields: StateFields,
    subgraphs: Subgraphs = False,
) -> Response:
    return JsonResponse(select_state(await engine.states.get(thread_id, checkpoint_id, subgraphs=subgraphs), fields))


@router.get("/history", summary="List a thread's states, newest first")
async def list_states(
    thread_id: ThreadId,
    engine: EngineDep,
    fields: StateFields,
    limit: PageLimit = 10,
    before: Annotated[str | None, Query(description="The id of a checkpoint: only older ones.")] = None,
) -> Response:
    states = await engine.states.history(thread_id, limit=limit, before=before)
    return JsonResponse([select_state(state, fields) for state in states])


@router.post("/history", summary="Search a thread's states, newest first")
async def search_states(
    thread_id: ThreadId, body: Annotated[HistorySearch, Depends(JsonBody(HistorySearch))], engine: EngineDep
) -> Response:
    states = await engine.states.history(
        thread_id, limit=body.limit, before=body.before, metadata=body.metadata, checkpoint=body.checkpoint
    )
    return JsonResponse([select_state(state, body.select) for state in states])
