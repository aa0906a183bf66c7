"""Owns the routes that touch several runs at once: batches, cancelling many, and the stream of a whole thread."""

import re
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import Field, RootModel, model_validator
from starlette.responses import Response

from threadline.api.dependencies import AnswersDep, EngineDep, JsonBody, LastEventId, ThreadId, TraceParent
from threadline.api.errors import InvalidRequest
from threadline.api.idempotency import KeyDep, accept_runs, as_accepted
from threadline.api.responses import JsonResponse
from threadline.api.routing import DirectRoute
from threadline.api.run_requests import run_without_thread
from threadline.api.runs import EVENT_STREAM
from threadline.api.schemas import MAX_PAGE, Body, RunCreate
from threadline.api.thread_stream import ThreadStreamMode
from threadline.api.views import run_view
from threadline.runs.engine import Engine
from threadline.runs.model import CancelAction, JsonObject, RunRequest, RunStatus

router = APIRouter(tags=["Many runs"], route_class=DirectRoute)

_STATUSES = {
    "pending": (RunStatus.PENDING,),
    "running": (RunStatus.RUNNING,),
    "all": (RunStatus.PENDING, RunStatus.RUNNING),
}


class RunBatch(RootModel[Annotated[list[RunCreate], Field(min_length=1, max_length=MAX_PAGE)]]):
    """Runs to create, each without a thread."""


class RunsCancel(Body):
    """Which runs to cancel: those of a thread that are named, or those of all threads by status."""

    status: Literal["pending", "running", "all"] | None = None
    thread_id: UUID | None = None
    run_ids: Annotated[list[UUID], Field(max_length=MAX_PAGE)] | None = None

    @model_validator(mode="after")
    def _names_one_or_the_other(self) -> "RunsCancel":
        names_runs = self.thread_id is not None and self.run_ids is not None
        if (self.status is not None) == names_runs or (self.thread_id is None) != (self.run_ids is None):
            raise ValueError("give either status, or thread_id with run_ids")
        return self


@router.post("/runs/batch", summary="Create several runs without a thread")
async def create_runs(
    body: Annotated[RunBatch, Depends(JsonBody(RunBatch))], engine: EngineDep, parent: TraceParent, key: KeyDep
) -> Response:
    """Accept the runs, in order; nothing is accepted when one of them names no assistant, or not all may wait.

    With a key they are one transaction: all are accepted or none.
    """
    ask = partial(_ask_for_all, engine, body, parent)
    if key is not None:
        runs, marks = await accept_runs(engine, key, ask)
        return JsonResponse([run_view(as_accepted(run, marks)) for run in runs], headers=marks)
    return JsonResponse([run_view(run) for run in await engine.queue.create_all(await ask())])


async def _ask_for_all(engine: Engine, body: RunBatch, parent: JsonObject | None) -> list[RunRequest]:
    assistants = {name: await engine.assistants.get(name) for name in {run.assistant_id for run in body.root}}
    return [run_without_thread(run, assistants[run.assistant_id], parent) for run in body.root]


@router.post("/runs/cancel", summary="Cancel several runs", status_code=204)
async def cancel_runs(
    body: Annotated[RunsCancel, Depends(JsonBody(RunsCancel))],
    engine: EngineDep,
    action: Annotated[CancelAction, Query(description="`rollback` removes the runs, too.")] = CancelAction.INTERRUPT,
) -> Response:
    """Ask for the end of the runs; those that have ended already are left as they are."""
    if body.status is not None:
        await engine.queue.cancel_all(_STATUSES[body.status], action)
    elif body.thread_id is not None:
        await engine.queue.cancel_many(body.thread_id, body.run_ids or (), action)
    return Response(status_code=204)


@router.get("/threads/{thread_id}/stream", tags=["Threads"], summary="Follow a thread", responses=EVENT_STREAM)
async def stream_thread(
    thread_id: ThreadId,
    engine: EngineDep,
    answers: AnswersDep,
    stream_modes: Annotated[list[str] | None, Query(description="run_modes, lifecycle, state_update.")] = None,
    stream_mode: Annotated[list[str] | None, Query(description="The same, as some clients call it.")] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Answer with what happens on the thread from now on, or behind `Last-Event-ID`; `-` there asks for all."""
    modes = _read_modes([*(stream_modes or ()), *(stream_mode or ())])
    last_seq = await engine.tails.last_seq(thread_id)
    after = _starting_point(last_event_id, last_seq)
    return answers.thread(thread_id, after, modes, knows_place=bool(last_event_id))


def _read_modes(texts: list[str]) -> list[ThreadStreamMode]:
    named = [mode for text in texts for mode in re.findall(r"[^\s,\"\[\]]+", text)]
    if unknown := [mode for mode in named if mode not in set(ThreadStreamMode)]:
        raise InvalidRequest(f"Invalid stream mode: {unknown[0]}. It must be one of {', '.join(ThreadStreamMode)}")
    return [ThreadStreamMode(mode) for mode in named] or [ThreadStreamMode.RUN_MODES]


def _starting_point(last_event_id: str | None, last_seq: int) -> int:
    """Return the number behind which the stream starts; a number that is not there yet means the beginning."""
    if not last_event_id:
        return last_seq
    if last_event_id in ("-", "-1"):
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit()):
        raise InvalidRequest(
            f"Invalid Last-Event-ID {last_event_id!r}: must be the id of an event, or - for all events"
        )
    after = int(last_event_id)
    return after if after <= last_seq else 0
