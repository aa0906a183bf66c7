"""Owns the routes that look back: a run played again, a thread's timeline, differences, and forks."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from threadline.api.dependencies import AnswersDep, EngineDep, JsonBody, LastEventId, RunId, ThreadId
from threadline.api.errors import InvalidRequest
from threadline.api.responses import JsonResponse
from threadline.api.routing import DirectRoute
from threadline.api.runs import EVENT_STREAM
from threadline.api.schemas import MAX_PAGE, ThreadFork
from threadline.replay.comparison import Place, compare
from threadline.replay.fork import fork, read_edits
from threadline.replay.pace import DEFAULT_MAX_GAP, Pace, read_speed
from threadline.replay.recording import find_recording
from threadline.replay.timeline import read_timeline

router = APIRouter(prefix="/threads/{thread_id}", tags=["Replay"], route_class=DirectRoute)

MAX_GAP = int(DEFAULT_MAX_GAP * 1000)


@router.get("/runs/{run_id}/events", summary="Play a run again", responses=EVENT_STREAM)
async def replay_run(
    thread_id: ThreadId,
    run_id: RunId,
    engine: EngineDep,
    answers: AnswersDep,
    speed: Annotated[str, Query(description="A factor such as 1 or 4, or `max`.")] = "max",
    from_seq: Annotated[int | None, Query(ge=0, description="The number of the first event.")] = None,
    max_gap_ms: Annotated[int, Query(ge=0, le=3_600_000, description="The longest pause between events.")] = MAX_GAP,
    include: Annotated[Literal["internal"] | None, Query(description="`internal`: with nodes and attempts.")] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Answer with the events that the run's clients saw, by the same names and ids, as far apart as they came.

    Nothing is executed. A run that still goes on is followed live once what is stored has been played.
    """
    pace = Pace(read_speed(speed), max_gap_ms / 1000)
    first = from_seq if last_event_id is None else _next_id(last_event_id)
    recording = await find_recording(engine.pool, run_id, thread_id, first)
    # A cursor behind the log's end would begin anew.
    after = min(recording.cursor(first), await engine.tails.last_seq(thread_id))
    headers = {"content-location": f"/threads/{thread_id}/runs/{run_id}/events"}
    return answers.replay(recording, after, pace, headers, internal=include == "internal")


@router.get("/timeline", summary="List a thread's steps with nodes, times and changes")
async def get_timeline(
    thread_id: ThreadId,
    engine: EngineDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most: the newest ones.")] = 100,
    subgraphs: Annotated[bool, Query(description="With the steps of subgraphs.")] = False,
) -> Response:
    """Answer with the steps, oldest first; an entry without a checkpoint tells of nodes that have not led to one."""
    entries = read_timeline(engine.pool, thread_id, limit=limit, subgraphs=subgraphs)
    return JsonResponse([entry.view() async for entry in entries])


@router.get("/diff", summary="Compare two checkpoints")
async def get_diff(
    thread_id: ThreadId,
    engine: EngineDep,
    a: Annotated[str, Query(description="A checkpoint of the thread, or THREAD@CHECKPOINT of any.")],
    b: Annotated[str | None, Query(description="The same; by default the thread's latest.")] = None,
) -> Response:
    """Answer with a JSON patch (RFC 6902) that makes the values of `b` out of those of `a`."""
    places = [text if text and "@" in text else f"{thread_id}@{text or ''}" for text in (a, b)]
    comparison = await compare(engine.pool, Place.parse(places[0]), Place.parse(places[1]))
    return JsonResponse(comparison.view())


@router.post("/fork", summary="Fork a thread into a new one")
async def fork_thread(
    thread_id: ThreadId, body: Annotated[ThreadFork, Depends(JsonBody(ThreadFork))], engine: EngineDep
) -> Response:
    """Answer with the new thread; the source stays as it is, whatever then happens on the fork."""
    made = await fork(engine.pool, thread_id, body.checkpoint_id, read_edits(body.set))
    return JsonResponse(made.view())


def _next_id(last_event_id: str) -> int | None:
    if last_event_id in ("", "-", "-1"):
        return None
    if not (last_event_id.isascii() and last_event_id.isdigit()) or len(last_event_id) > 18:
        raise InvalidRequest(
            f"Invalid Last-Event-ID {last_event_id[:60]!r}: must be the id of an event, or - for all events"
        )
    return int(last_event_id) + 1
