"""Owns the route that monitoring asks: the queue of all processes, the places of this one."""

from collections.abc import Iterable
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import PlainTextResponse, Response

from threadline.api.dependencies import EngineDep
from threadline.api.responses import JsonResponse
from threadline.runs.engine import Engine
from threadline.runs.load import Load, measure_load

router = APIRouter(tags=["System"])

PROMETHEUS = "text/plain; version=0.0.4"
REMOVED = {
    "events": "Events that this process removed because of their age.",
    "event_bytes": "Bytes of these events.",
    "checkpoints": "Checkpoints that this process removed because of their age.",
    "runs": "Rows of ended runs that this process removed because of their age.",
}
METRICS: dict[int | str, dict[str, object]] = {200: {"content": {"text/plain": {}}}}


@router.get("/metrics", summary="What waits and runs", responses=METRICS)
async def metrics(
    engine: EngineDep,
    form: Annotated[
        Literal["prometheus", "json"], Query(alias="format", description="How to write it.")
    ] = "prometheus",
) -> Response:
    """Answer with counts of the whole database; `workers` and `removed` are of the process that answers."""
    load = await measure_load(engine.pool)
    if form == "json":
        return JsonResponse(_as_json(load, engine))
    return PlainTextResponse(_as_text(load, engine), media_type=PROMETHEUS)


def _as_json(load: Load, engine: Engine) -> dict[str, object]:
    worker = engine.worker
    return {
        "queue": {
            "n_pending": load.pending,
            "n_running": load.running,
            "pending_runs_wait_time_max_secs": load.longest_wait,
            "pending_runs_wait_time_med_secs": load.median_wait,
            "pending_unblocked_runs_wait_time_max_secs": load.longest_unblocked_wait,
        },
        "workers": {"max": worker.places, "active": worker.places - worker.room, "available": worker.room},
        "processes": load.processes,
        "removed": {kind: engine.retention.expiry.removed[kind] for kind in REMOVED},
        "webhooks": {"n_pending": load.webhooks_pending, "n_dead": load.webhooks_dead},
        "cron_fires": {"n_pending": load.cron_fires_pending, "n_dead": load.cron_fires_dead},
    }


def _as_text(load: Load, engine: Engine) -> str:
    worker = engine.worker
    gauges = (
        ("lg_api_num_pending_runs", "Runs that are due and wait, in all processes.", load.pending),
        ("lg_api_num_running_runs", "Runs that are executed, in all processes.", load.running),
        ("lg_api_pending_runs_wait_time_max", "The longest wait of a due run in seconds.", load.longest_wait),
        ("lg_api_pending_runs_wait_time_med", "The median wait of due runs in seconds.", load.median_wait),
        ("lg_api_workers_max", "Places for runs in this process.", worker.places),
        ("lg_api_workers_active", "Places for runs in this process that are taken.", worker.places - worker.room),
        ("lg_api_workers_available", "Places for runs in this process that are free.", worker.room),
        ("threadline_processes", "Processes with a valid lease.", load.processes),
        ("threadline_webhooks_pending", "Webhooks that are owed.", load.webhooks_pending),
        ("threadline_webhooks_dead", "Webhooks that were given up.", load.webhooks_dead),
        ("threadline_cron_fires_pending", "Moments of crons whose run is tried again.", load.cron_fires_pending),
        ("threadline_cron_fires_dead", "Moments of crons that were given up.", load.cron_fires_dead),
    )
    removed = engine.retention.expiry.removed
    counters = ((f"threadline_removed_{kind}_total", told, removed[kind]) for kind, told in REMOVED.items())
    return _lines("gauge", gauges) + _lines("counter", counters)


def _lines(kind: str, metrics: Iterable[tuple[str, str, float | None]]) -> str:
    return "".join(
        f"# HELP {name} {told}\n# TYPE {name} {kind}\n{name} {float(value or 0)}\n" for name, told, value in metrics
    )
