"""Owns how a run's stored kwargs become the call of a graph: input or command, config, and stream options."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from threadline.checkpoints.secrets import without_secrets
from threadline.runs.callers import for_graph
from threadline.runs.commands import read_command
from threadline.runs.model import Claim, JsonObject, Run
from threadline.runs.supersteps import Durability

# What the modes of the wire are called inside LangGraph's hook; `events` comes from astream_events.
DEFAULT_MODES = ("values",)
PROTOCOL = "lifecycle"  # among the modes, it says that the run is for the event-streaming protocol
# What of that is recorded as other runs record it; the rest has events of its own.
_SHARED_MODES = frozenset({"values", "updates", "custom", "tasks"})


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a graph. `config` has no hooks yet; the execution adds them.

    `protocol` says that the run was started for the event-streaming protocol, which has events of its own.
    """

    graph_input: Any
    config: JsonObject
    context: JsonObject | None
    modes: frozenset[str]
    protocol: bool
    subgraphs: bool
    durability: Durability
    interrupt_before: Any
    interrupt_after: Any


def make_invocation(claim: Claim, *, resumed: bool) -> Invocation:
    """Return the call for this attempt.

    `resumed` says that an earlier attempt left a checkpoint of this run, or used up its answer: it is gone on
    from there, so the input is not given again and a checkpoint that was asked for is not gone back to.
    """
    run = claim.run
    kwargs = run.kwargs
    modes = frozenset(kwargs.get("stream_mode") or DEFAULT_MODES)
    protocol = PROTOCOL in modes
    return Invocation(
        graph_input=None if resumed else _read_input(kwargs),
        config=_make_config(run, resumed=resumed),
        context=kwargs.get("context") or None,
        modes=modes & _SHARED_MODES if protocol else modes,
        protocol=protocol,
        subgraphs=bool(kwargs.get("subgraphs")),
        durability=kwargs.get("durability") or "async",
        interrupt_before=kwargs.get("interrupt_before"),
        interrupt_after=kwargs.get("interrupt_after"),
    )


def trace_id(run_id: UUID, attempt: int) -> UUID:
    """The run id, and for later attempts an id derived from it: two attempts must not share a trace."""
    return run_id if attempt == 1 else uuid5(run_id, str(attempt))


def _read_input(kwargs: JsonObject) -> Any:
    """An empty command counts as none: what was given as input, or nothing, is the input then."""
    return read_command(kwargs["command"]) if kwargs.get("command") else kwargs.get("input")


def _make_config(run: Run, *, resumed: bool) -> JsonObject:
    given = run.kwargs.get("config") or {}
    ids = {
        "run_id": str(run.run_id),
        "thread_id": str(run.thread_id),
        "graph_id": run.graph_id,
        "assistant_id": str(run.assistant_id),
    }
    configurable = for_graph({**(given.get("configurable") or {}), **ids})
    if not resumed:
        configurable.update(_read_checkpoint(run.kwargs))
    config: JsonObject = {
        "configurable": configurable,
        # Unlike `configurable`, this goes into every checkpoint, event and span.
        "metadata": without_secrets({**(given.get("metadata") or {}), **run.metadata})
        | {**ids, "run_attempt": run.attempt},
        "run_id": trace_id(run.run_id, run.attempt),
        "run_name": run.graph_id,
    }
    for key in ("tags", "recursion_limit", "max_concurrency"):
        if given.get(key) is not None:
            config[key] = given[key]
    return config


def _read_checkpoint(kwargs: JsonObject) -> JsonObject:
    """The checkpoint to start from. The client may name any thread in it; the run's own is the one that counts."""
    checkpoint = dict(kwargs.get("checkpoint") or {})
    if kwargs.get("checkpoint_id"):
        checkpoint.setdefault("checkpoint_id", kwargs["checkpoint_id"])
    wanted = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
    return {key: checkpoint[key] for key in wanted if checkpoint.get(key) is not None}
