"""Owns how runs, threads, assistants, crons and webhooks look to clients; their fields are decided in `runs.model`."""

from collections.abc import Sequence
from datetime import UTC, datetime

from langgraph.store.base import Item, SearchItem

from threadline.runs.crons import Cron
from threadline.runs.deliveries import Delivery
from threadline.runs.fires import Fire
from threadline.runs.model import Assistant, AssistantVersion, JsonObject, Run, Thread
from threadline.runs.secrets import shown_kwargs


def run_view(run: Run) -> JsonObject:
    """Return the run as clients of the original know it."""
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "created_at": _utc(run.created_at),
        "updated_at": _utc(run.updated_at),
        "metadata": run.metadata,
        "status": run.status,
        "kwargs": shown_kwargs(run.kwargs),
        "multitask_strategy": run.multitask_strategy,
        "langsmith_session_name": (run.kwargs.get("langsmith_tracer") or {}).get("project_name"),
    }


def thread_view(thread: Thread) -> JsonObject:
    """Return the thread with what its last run left."""
    return {
        "thread_id": thread.thread_id,
        "created_at": _utc(thread.created_at),
        "updated_at": _utc(thread.updated_at),
        "state_updated_at": _utc(thread.state_updated_at),
        "metadata": thread.metadata,
        "status": thread.status,
        "config": thread.config,
        "values": thread.values,
        "interrupts": thread.interrupts,
        "error": thread.error,
    }


def ttl_view(thread: Thread) -> JsonObject | None:
    """Return when the thread goes, and how; None for one that stays."""
    if thread.ttl_minutes is None or thread.expires_at is None:
        return None
    return {
        "strategy": thread.ttl_strategy,
        "ttl_minutes": thread.ttl_minutes,
        "expires_at": _utc(thread.expires_at),
    }


def assistant_view(assistant: Assistant) -> JsonObject:
    """Return the assistant with its configuration."""
    return {
        "assistant_id": assistant.assistant_id,
        "graph_id": assistant.graph_id,
        "config": assistant.config,
        "context": assistant.context,
        "metadata": assistant.metadata,
        "name": assistant.name,
        "created_at": _utc(assistant.created_at),
        "updated_at": _utc(assistant.updated_at),
        "version": assistant.version,
        "description": assistant.description,
    }


def cron_view(cron: Cron) -> JsonObject:
    """Return the cron with what was asked for, apart from secrets in its configuration."""
    return {
        "cron_id": cron.cron_id,
        "assistant_id": cron.assistant_id,
        "thread_id": cron.thread_id,
        "user_id": cron.user_id,
        "end_time": _utc_or_none(cron.end_time),
        "schedule": cron.schedule,
        "timezone": cron.timezone,
        "payload": shown_kwargs(cron.payload),
        "next_run_date": _utc_or_none(cron.next_run_date),
        "metadata": cron.metadata,
        "on_run_completed": cron.on_run_completed,
        "enabled": cron.enabled,
        "created_at": _utc(cron.created_at),
        "updated_at": _utc(cron.updated_at),
    }


def fire_view(fire: Fire) -> JsonObject:
    """Return what became of one moment of a cron."""
    return {
        "fire_id": fire.fire_id,
        "cron_id": fire.cron_id,
        "scheduled_at": _utc(fire.scheduled_at),
        "status": fire.status,
        "attempts": fire.attempts,
        "run_id": fire.run_id,
        "thread_id": fire.thread_id,
        "error": fire.error,
        "due_at": _utc_or_none(fire.due_at),
        "created_at": _utc(fire.created_at),
        "settled_at": _utc_or_none(fire.settled_at),
    }


def delivery_view(delivery: Delivery) -> JsonObject:
    """Return a webhook with the outcome of each attempt."""
    return {
        "webhook_id": delivery.webhook_id,
        "run_id": delivery.run_id,
        "thread_id": delivery.thread_id,
        "url": delivery.url,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "error": delivery.error,
        "due_at": _utc_or_none(delivery.due_at),
        "created_at": _utc(delivery.created_at),
        "delivered_at": _utc_or_none(delivery.delivered_at),
        "died_at": _utc_or_none(delivery.died_at),
        "attempt_log": [_attempt_view(attempt) for attempt in delivery.attempt_log],
    }


def _attempt_view(attempt: JsonObject) -> JsonObject:
    """Return an attempt, of which the database has made JSON, with its times as we write them."""
    times = {name: attempt[name] for name in ("started_at", "ended_at")}
    return attempt | {name: _utc(datetime.fromisoformat(time)) if time else None for name, time in times.items()}


def version_view(version: AssistantVersion) -> JsonObject:
    """Return what an assistant was at one of its versions."""
    return {
        "assistant_id": version.assistant_id,
        "graph_id": version.graph_id,
        "config": version.config,
        "context": version.context,
        "metadata": version.metadata,
        "name": version.name,
        "created_at": _utc(version.created_at),
        "version": version.version,
        "description": version.description,
    }


def item_view(item: Item) -> JsonObject:
    """Return an item of the store."""
    return {
        "namespace": list(item.namespace),
        "key": item.key,
        "value": item.value,
        "created_at": _utc(item.created_at),
        "updated_at": _utc(item.updated_at),
    }


def found_view(item: SearchItem) -> JsonObject:
    """Return an item that a search found, with how near it is to what was asked; null where nothing was."""
    return item_view(item) | {"score": item.score}


def select(view: JsonObject, names: Sequence[str] | None) -> JsonObject:
    """Return only the fields of `view` that are asked for; all of them when none is."""
    return {name: view[name] for name in names} if names else view


def _utc_or_none(time: datetime | None) -> str | None:
    return _utc(time) if time else None


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")
