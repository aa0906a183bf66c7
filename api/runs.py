"""Owns the routes of runs on a thread: create, follow, wait, look up, cancel."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from threadline.api.dependencies import (
    AnswersDep,
    CancelOnDisconnect,
    EngineDep,
    JsonBody,
    LastEventId,
    ModeFilter,
    PageLimit,
    PageOffset,
    RunId,
    ThreadId,
    TraceParent,
)
from threadline.api.idempotency import KeyDep, accept_run, as_accepted
from threadline.api.responses import JsonResponse, run_headers
from threadline.api.routing import DirectRoute
from threadline.api.run_requests import ask_on_thread
from threadline.api.schemas import RunCreate, RunField
from threadline.api.stream import starting_point
from threadline.api.views import run_view, select
from threadline.runs.model import CancelAction, RunStatus

router = APIRouter(prefix="/threads/{thread_id}/runs", tags=["Thread runs"], route_class=DirectRoute)

EVENT_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
RunCreateBody = Annotated[RunCreate, Depends(JsonBody(RunCreate))]


@router.post("/wait", summary="Create a run and wait for its result")
async def wait_for_run(
    thread_id: ThreadId, body: RunCreateBody, engine: EngineDep, answers: AnswersDep, parent: TraceParent, key: KeyDep
) -> Response:
    """Answer with the values the run leaves; white space comes every few seconds until then."""
    run, marks = await accept_run(engine, key, partial(ask_on_thread, engine, thread_id, body, parent))
    headers = {**run_headers(run, "join"), **marks}
    return answers.result(run, headers, cancels=body.on_disconnect == "cancel")


@router.post("/stream", summary="Create a run and stream its events", responses=EVENT_STREAM)
async def stream_run(
    thread_id: ThreadId, body: RunCreateBody, engine: EngineDep, answers: AnswersDep, parent: TraceParent, key: KeyDep
) -> Response:
    """Answer with server-sent events; a stream that was cut is resumed at `Location` with `Last-Event-ID`."""
    run, marks = await accept_run(engine, key, partial(ask_on_thread, engine, thread_id, body, parent))
    headers = {**run_headers(run, "stream"), **marks}
    return answers.stream(run, run.start_seq, headers, cancels=body.on_disconnect == "cancel")


@router.post("", summary="Create a run")
async def create_run(
    thread_id: ThreadId, body: RunCreateBody, engine: EngineDep, parent: TraceParent, key: KeyDep
) -> Response:
    """Accept the run and answer at once; it is kept whatever happens from here on."""
    run, marks = await accept_run(engine, key, partial(ask_on_thread, engine, thread_id, body, parent))
    return JsonResponse(run_view(as_accepted(run, marks)), headers={**run_headers(run), **marks})


@router.get("", summary="List the runs of a thread, newest first")
async def list_runs(
    thread_id: ThreadId,
    engine: EngineDep,
    limit: PageLimit = 10,
    offset: PageOffset = 0,
    status: Annotated[RunStatus | None, Query(description="Only runs of this status.")] = None,
    fields: Annotated[list[RunField] | None, Query(alias="select", description="Only these fields.")] = None,
) -> Response:
    runs = await engine.queue.list(thread_id, limit=limit, offset=offset, status=status)
    return JsonResponse([select(run_view(run), fields) for run in runs])


@router.get("/{run_id}", summary="Get a run")
async def get_run(thread_id: ThreadId, run_id: RunId, engine: EngineDep) -> Response:
    return JsonResponse(run_view(await engine.queue.get(thread_id, run_id)))


@router.delete("/{run_id}", summary="Delete a run", status_code=204)
async def delete_run(thread_id: ThreadId, run_id: RunId, engine: EngineDep) -> Response:
    """Remove the run; one that is at work is stopped."""
    await engine.queue.delete(thread_id, run_id)
    return Response(status_code=204)


@router.get("/{run_id}/join", summary="Wait for a run's result")
async def join_run(
    thread_id: ThreadId,
    run_id: RunId,
    engine: EngineDep,
    answers: AnswersDep,
    cancel_on_disconnect: CancelOnDisconnect = False,
) -> Response:
    """Answer with the values the run leaves, at once when it has ended."""
    run = await engine.queue.get(thread_id, run_id)
    headers = run_headers(run, "join")
    return answers.result(run, headers, cancels=cancel_on_disconnect)


@router.get("/{run_id}/stream", summary="Join a run's stream", responses=EVENT_STREAM)
async def join_stream(
    thread_id: ThreadId,
    run_id: RunId,
    engine: EngineDep,
    answers: AnswersDep,
    modes: ModeFilter,
    last_event_id: LastEventId = None,
    cancel_on_disconnect: CancelOnDisconnect = False,
) -> Response:
    """Answer with the events from now on, or with those behind `Last-Event-ID`; `-` there asks for all."""
    last_seq = await engine.tails.last_seq(thread_id)
    run = await engine.queue.get(thread_id, run_id)
    headers = run_headers(run, "stream")
    after = starting_point(last_event_id, run, last_seq)
    knows_place = bool(last_event_id)
    return answers.stream(run, after, headers, modes=modes, knows_place=knows_place, cancels=cancel_on_disconnect)


@router.post("/{run_id}/cancel", summary="Cancel a run", status_code=202)
async def cancel_run(
    thread_id: ThreadId,
    run_id: RunId,
    engine: EngineDep,
    answers: AnswersDep,
    wait: Annotated[bool, Query(description="Answer when the run has ended.")] = False,
    action: Annotated[
        CancelAction, Query(description="`rollback` removes the run and what it did, too.")
    ] = CancelAction.INTERRUPT,
) -> Response:
    """Ask for the run's end: 202 at once, or 200 when it has ended."""
    if wait:
        return await answers.cancelled(thread_id, run_id, action)
    await engine.queue.cancel(thread_id, run_id, action)
    return Response(status_code=202)
