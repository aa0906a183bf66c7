"""Owns what a request for a run means to the worker; which configuration wins is `runs.configuration`'s business."""

from datetime import timedelta
from uuid import UUID

from threadline.api.errors import ContradictoryRequest
from threadline.api.schemas import RunCreate, RunOptions
from threadline.runs.callers import RESERVED
from threadline.runs.configuration import inherit
from threadline.runs.engine import Engine
from threadline.runs.identity import uuid7
from threadline.runs.model import Assistant, JsonObject, RunRequest
from threadline.runs.state_view import checkpoint_config


async def ask_on_thread(engine: Engine, thread_id: UUID, body: RunCreate, parent: JsonObject | None) -> RunRequest:
    """Return the request for a run of the assistant that the body names. Raises AssistantNotFound."""
    return run_on_thread(thread_id, body, await engine.assistants.get(body.assistant_id), parent)


async def ask_without_thread(engine: Engine, body: RunCreate, parent: JsonObject | None) -> RunRequest:
    """Return the request for a run of that assistant on a thread of its own. Raises AssistantNotFound."""
    return run_without_thread(body, await engine.assistants.get(body.assistant_id), parent)


def run_on_thread(
    thread_id: UUID, body: RunCreate, assistant: Assistant, parent: JsonObject | None = None
) -> RunRequest:
    """Return the request for a run on a thread that clients know; `parent` is the span of the caller's trace."""
    return RunRequest(
        run_id=uuid7(),
        thread_id=thread_id,
        assistant_id=assistant.assistant_id,
        graph_id=assistant.graph_id,
        kwargs=inherit(own_kwargs(body, temporary=False), assistant, _checkpoint(thread_id, body))
        | _tracing(body, parent),
        metadata=body.metadata,
        inherited_metadata=assistant.metadata,
        multitask_strategy=body.multitask_strategy,
        create_thread=body.if_not_exists == "create",
        delay=timedelta(seconds=body.after_seconds or 0),
        webhook=body.webhook,
    )


def run_without_thread(body: RunCreate, assistant: Assistant, parent: JsonObject | None = None) -> RunRequest:
    """Return the request for a run on a thread of its own, which goes with it unless the client keeps it.

    What only makes sense on a thread with a past, the strategy and the checkpoint, is ignored.
    """
    return RunRequest(
        run_id=uuid7(),
        thread_id=uuid7(),
        assistant_id=assistant.assistant_id,
        graph_id=assistant.graph_id,
        kwargs=inherit(own_kwargs(body, temporary=body.on_completion == "delete"), assistant) | _tracing(body, parent),
        metadata=body.metadata,
        inherited_metadata=assistant.metadata,
        fresh_thread=True,
        hidden_thread=body.on_completion == "delete",
        delay=timedelta(seconds=body.after_seconds or 0),
        webhook=body.webhook,
    )


def own_kwargs(body: RunOptions, *, temporary: bool) -> JsonObject:
    """Return a run's kwargs as its client gave them, before an assistant's are put beneath. Raises InvalidRequest."""
    given = body.config.model_dump(exclude_none=True, exclude={"configurable"}) if body.config else {}
    configurable = body.config.configurable if body.config else None
    if configurable and body.context:
        raise ContradictoryRequest(
            "Cannot specify both configurable and context. Use context, which replaces configurable."
        )
    own = {key: value for key, value in (configurable or body.context or {}).items() if not key.startswith(RESERVED)}
    return {
        "input": body.input,
        "command": body.command.model_dump(exclude_unset=True) if body.command else None,
        "config": given | {"configurable": own},
        "context": own,
        "stream_mode": body.stream_mode,
        "interrupt_before": body.interrupt_before,
        "interrupt_after": body.interrupt_after,
        "webhook": body.webhook,
        "feedback_keys": body.feedback_keys,
        "temporary": temporary,
        "subgraphs": body.stream_subgraphs,
        "resumable": body.stream_resumable,
        "checkpoint_during": _durability(body) != "exit",
        "durability": _durability(body),
    }


def _tracing(body: RunCreate, parent: JsonObject | None) -> JsonObject:
    """Return what is kept for the run's trace, if anything is asked."""
    kept: JsonObject = {}
    if body.langsmith_tracer is not None:
        kept["langsmith_tracer"] = body.langsmith_tracer.model_dump(mode="json", exclude_none=True)
    if parent is not None:
        kept["trace_parent"] = parent
    return kept


def _checkpoint(thread_id: UUID, body: RunCreate) -> JsonObject:
    """Return the place to go on from, as LangGraph's `configurable` names it. Raises Invalid."""
    reference = body.checkpoint or body.checkpoint_id
    if reference is None:
        return {}
    named: JsonObject = checkpoint_config(thread_id, reference)["configurable"]
    return {key: value for key, value in named.items() if key != "thread_id"}


def _durability(body: RunOptions) -> str:
    if body.durability is not None:
        return body.durability
    return "exit" if body.checkpoint_during is False else "async"
