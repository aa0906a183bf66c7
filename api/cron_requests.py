"""Owns what a request about a cron means: what is shown of it, and what its runs are made from."""

from uuid import UUID

from threadline.api.cron_schemas import CronCreate, CronPatch
from threadline.api.run_requests import own_kwargs
from threadline.runs.crons import CronRequest
from threadline.runs.model import Assistant, JsonObject

# A field of a request, and the key of a run's kwargs that it becomes.
_KWARGS = {
    "input": "input",
    "command": "command",
    "config": "config",
    "context": "context",
    "webhook": "webhook",
    "interrupt_before": "interrupt_before",
    "interrupt_after": "interrupt_after",
    "feedback_keys": "feedback_keys",
    "stream_mode": "stream_mode",
    "stream_subgraphs": "subgraphs",
    "stream_resumable": "resumable",
    "checkpoint_during": "checkpoint_during",
    "durability": "durability",
}
_CONFIGURATION = ("config", "context")


def cron_to_create(body: CronCreate, assistant: Assistant, thread_id: UUID | None) -> CronRequest:
    """Return the cron that is asked for, on a thread or on threads of its own."""
    on_run_completed = None if thread_id is not None else body.on_run_completed or "delete"
    payload = shown_payload(body) | {"assistant_id": str(assistant.assistant_id)}
    return CronRequest(
        assistant_id=assistant.assistant_id,
        thread_id=thread_id,
        schedule=body.schedule,
        timezone=body.timezone,
        end_time=body.end_time,
        metadata=body.metadata,
        payload=payload,
        kwargs=own_kwargs(body, temporary=on_run_completed == "delete"),
        enabled=body.enabled is not False,
        multitask_strategy=body.multitask_strategy,
        on_run_completed=on_run_completed,
    )


def patched_kwargs(body: CronPatch) -> JsonObject:
    """Return the keys of the runs' kwargs that a patch replaces. Configuration and context are one."""
    own = own_kwargs(body, temporary=body.on_run_completed == "delete")
    changed = {key: own[key] for name, key in _KWARGS.items() if name in body.model_fields_set}
    if not body.model_fields_set.isdisjoint(_CONFIGURATION):
        changed |= {key: own[key] for key in _CONFIGURATION}
    if body.on_run_completed is not None:
        changed["temporary"] = own["temporary"]
    return changed


def shown_payload(body: CronCreate | CronPatch) -> JsonObject:
    """Return what clients are shown of what they asked for."""
    return body.model_dump(mode="json", exclude_unset=True)
