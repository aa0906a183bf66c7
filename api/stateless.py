"""Owns the routes of runs without a thread: each gets one of its own, which is swept away behind it."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from threadline.api.dependencies import AnswersDep, EngineDep, TraceParent
from threadline.api.idempotency import KeyDep, accept_run, as_accepted
from threadline.api.responses import JsonResponse, run_headers
from threadline.api.routing import DirectRoute
from threadline.api.run_requests import ask_without_thread
from threadline.api.runs import EVENT_STREAM, RunCreateBody
from threadline.api.views import run_view

router = APIRouter(prefix="/runs", tags=["Stateless runs"], route_class=DirectRoute)


@router.post("/wait", summary="Create a run without a thread and wait for its result")
async def wait_for_run(
    body: RunCreateBody, engine: EngineDep, answers: AnswersDep, parent: TraceParent, key: KeyDep
) -> Response:
    """Answer with the values the run leaves; white space comes every few seconds until then."""
    run, marks = await accept_run(engine, key, partial(ask_without_thread, engine, body, parent))
    headers = {**run_headers(run, "join"), **marks}
    return answers.result(run, headers, cancels=body.on_disconnect == "cancel")


@router.post("/stream", summary="Create a run without a thread and stream its events", responses=EVENT_STREAM)
async def stream_run(
    body: RunCreateBody, engine: EngineDep, answers: AnswersDep, parent: TraceParent, key: KeyDep
) -> Response:
    """Answer with server-sent events; a stream that was cut is resumed at `Location` with `Last-Event-ID`."""
    run, marks = await accept_run(engine, key, partial(ask_without_thread, engine, body, parent))
    headers = {**run_headers(run, "stream", has_thread=False), **marks}
    return answers.stream(run, run.start_seq, headers, cancels=body.on_disconnect == "cancel")


@router.post("", summary="Create a run without a thread")
async def create_run(body: RunCreateBody, engine: EngineDep, parent: TraceParent, key: KeyDep) -> Response:
    """Accept the run and answer at once; it is kept whatever happens from here on."""
    run, marks = await accept_run(engine, key, partial(ask_without_thread, engine, body, parent))
    return JsonResponse(run_view(as_accepted(run, marks)), headers={**run_headers(run, has_thread=False), **marks})
