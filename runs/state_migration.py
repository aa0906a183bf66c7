"""Owns moving a thread's state to another version of its graph: the project's function decides, one checkpoint tells.

The new checkpoint is written under the head's fence, once: it is of the new version, so nobody moves it again. It
leans on how LangGraph lays out checkpoints and names tasks: private, pinned, and covered by tests.
"""

import asyncio
import inspect
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.channels.base import BaseChannel
from langgraph.channels.binop import BinaryOperatorAggregate
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.serde.types import INTERRUPT, _DeltaSnapshot
from langgraph.constants import END
from langgraph.pregel._algo import prepare_next_tasks, task_path_str
from langgraph.pregel._checkpoint import achannels_from_checkpoint
from langgraph.types import Command, Interrupt, Overwrite, PregelTask, Send
from xxhash import xxh3_128_hexdigest

from threadline.checkpoints.buffer import Entry, RunBuffer
from threadline.checkpoints.pending import EDGE, SENDS, pending_channels, pending_nodes
from threadline.checkpoints.rows import encode_checkpoint, encode_writes
from threadline.checkpoints.run_saver import RunSaver
from threadline.graphs.registry import Graph, Migrate
from threadline.runs.encoding import encode
from threadline.runs.errors import MigrationFailed
from threadline.runs.model import STATE_MIGRATED, JsonObject
from threadline.runs.state_view import visible_values
from threadline.runs.versions import Change

logger = logging.getLogger("threadline.runs")

_ID_LENGTH = 32
# What a task left that counts no more when it runs again.
_NOT_KEPT = frozenset({"__error__", "__error_source_node__"})

Channel = BaseChannel[Any, Any, Any]
Results = dict[str, tuple[PregelTask, list[tuple[str, Any]]]]


async def migrate_state(
    function: Migrate, graph: Graph, saved: CheckpointTuple, change: Change, saver: RunSaver, buffer: RunBuffer
) -> None:
    """Have the project's function say what the state is in the new version, and commit that as a checkpoint.

    Raises MigrationFailed for whatever the function raises or returns that the graph cannot take, and FencedOut.
    """
    channels, managed = await achannels_from_checkpoint(
        graph.channels, saved.checkpoint, saver=saver, config=saved.config
    )
    given = await _ask(function, _values(saved, channels), _describe(saved, change))
    try:
        update, goto = _read(given)
        new = _new_values(graph, saved.checkpoint, channels, update, goto)
    except (TypeError, ValueError, LookupError) as error:
        raise MigrationFailed(f"what `migrate` of graph '{change.version.graph_id}' returned: {error}") from error
    version = saver.get_next_version(max(saved.checkpoint["channel_versions"].values(), default=None), None)  # type: ignore[arg-type]  # of any channel
    changed = dict.fromkeys(new, version)
    checkpoint = _make_checkpoint(
        saved, new, changed, left_out=() if goto is None else pending_channels(saved.checkpoint)
    )
    results: Results = {}
    renamed: dict[str, str] = {}
    if goto is None:
        results, renamed = _carry(graph, saved, checkpoint, channels, managed)
    old: Mapping[str, Any] = saved.metadata
    metadata = {
        "source": "update",
        "step": saved.metadata["step"] + 1,
        "parents": saved.metadata.get("parents", {}),
        **{key: old[key] for key in ("thread_id", "assistant_id") if key in old},
        "migrated_from": change.topology_hash,
        "migrated_by": str(buffer.fence.run_id),
        "migrated_interrupts": renamed,
    }
    await _commit(saver, buffer, saved, checkpoint, metadata, changed, results)


async def _ask(function: Migrate, values: JsonObject, change: JsonObject) -> Any:
    try:
        if inspect.iscoroutinefunction(function):
            return await function(values, change)
        answer = await asyncio.to_thread(function, values, change)
        return await answer if inspect.isawaitable(answer) else answer
    except Exception as error:  # whatever the project raises is why the run ends
        raise MigrationFailed(f"`migrate` of graph '{change['graph_id']}': {type(error).__name__}: {error}") from error


def _values(saved: CheckpointTuple, channels: Mapping[str, Channel]) -> JsonObject:
    """The old state, with what the new graph has no place for, too."""
    values = visible_values(saved.checkpoint["channel_values"])
    rebuilt = {
        name: channel.get()
        for name, channel in channels.items()
        if isinstance(channel, DeltaChannel) and channel.is_available()
    }
    return {**(values if isinstance(values, dict) else {"__root__": values}), **rebuilt}


def _describe(saved: CheckpointTuple, change: Change) -> JsonObject:
    return {
        "graph_id": change.version.graph_id,
        "thread_id": saved.config["configurable"]["thread_id"],
        "from_topology_hash": change.topology_hash,
        "from_code_hash": saved.metadata.get("code_hash"),
        "to_topology_hash": change.version.topology_hash,
        "to_code_hash": change.version.code_hash,
        "differences": list(change.differences),
        "next": list(pending_nodes(saved.checkpoint)),
        "gone": list(change.gone),
        "metadata": dict(saved.metadata),
    }


def _read(given: Any) -> tuple[JsonObject, list[str | Send] | None]:
    """Return the new values, and what is next instead of what was: None leaves that."""
    update, goto = (given.update, given.goto) if isinstance(given, Command) else (given, ())
    if not isinstance(update or {}, Mapping):
        raise TypeError(f"it must return values as a dict, a Command, or None, not {type(update).__name__}")
    targets = [goto] if isinstance(goto, str | Send) else list(goto)
    return dict(update or {}), targets or None


def _new_values(
    graph: Graph,
    old: Checkpoint,
    channels: Mapping[str, Channel],
    update: JsonObject,
    goto: Sequence[str | Send] | None,
) -> JsonObject:
    """Return what the channels keep that are to be others than in the old checkpoint."""
    new = {name: _store(graph, name, value) for name, value in update.items()}
    for name, channel in channels.items():
        if isinstance(channel, DeltaChannel) and channel.is_available() and name not in new:
            new[name] = _DeltaSnapshot(channel.get())  # or what the old checkpoint's tasks left would be added
    return new if goto is None else new | _targets(graph, goto)


def _make_checkpoint(
    saved: CheckpointTuple, new: JsonObject, changed: Mapping[str, str], left_out: Collection[str]
) -> Checkpoint:
    """Return the old checkpoint but for the new values, and for what makes it nodes' turn that is `left_out`."""
    old = saved.checkpoint
    kept = {name: value for name, value in old["channel_values"].items() if name not in left_out}
    return Checkpoint(
        v=old["v"],
        ts=datetime.now(UTC).isoformat(),
        id=str(uuid6(clock_seq=saved.metadata["step"])),
        channel_values=kept | new,
        channel_versions={**old["channel_versions"], **changed},
        versions_seen=old["versions_seen"],
        updated_channels=None,
    )


def _store(graph: Graph, name: str, value: Any) -> Any:
    """Return what the channel keeps when this is its value, whatever it was before."""
    channel = graph.channels.get(name)
    if not isinstance(channel, BaseChannel) or name.startswith((EDGE, "__pregel")):
        known = ", ".join(sorted(each for each in graph.channels if ":" not in each and not each.startswith("__")))
        raise LookupError(f"the graph's state has no {name!r}; it has: {known}")
    if isinstance(channel, DeltaChannel):
        return _DeltaSnapshot(value)
    fresh = channel.copy()
    fresh.update([Overwrite(value) if isinstance(fresh, BinaryOperatorAggregate) else value])
    return fresh.checkpoint()


def _targets(graph: Graph, goto: Iterable[str | Send]) -> JsonObject:
    new: JsonObject = {}
    sends: list[Send] = []
    for target in goto:
        name = target.node if isinstance(target, Send) else target
        if name != END and (name not in graph.nodes or EDGE + name not in graph.channels):
            raise LookupError(f"the graph has no node {name!r} to go to")
        if isinstance(target, Send):
            sends.append(target)
        elif name != END:
            new[EDGE + name] = None
    return new | ({SENDS: sends} if sends else {})


def _carry(
    graph: Graph, saved: CheckpointTuple, checkpoint: Checkpoint, channels: Any, managed: Any
) -> tuple[Results, dict[str, str]]:
    """Return what tasks that are still pending have left, by their new ids, and the new ids of open questions."""
    try:
        before = _tasks(graph, saved, saved.checkpoint, channels, managed, saved.metadata["step"] + 1)
        after = _tasks(graph, saved, checkpoint, channels, managed, saved.metadata["step"] + 2)
    except Exception as error:  # whatever a state of the project says to old values: its tasks begin anew
        logger.warning("run.results_not_carried", exc_info=error, extra={"graph_id": saved.metadata.get("graph_id")})
        return {}, {}
    renamed: dict[str, str] = {}
    results: Results = {}
    for path, old in before.items():
        if (new := after.get(path)) is None:
            continue
        left = [(channel, value) for task_id, channel, value in saved.pending_writes or () if task_id == old.id]
        names = {_question(old): _question(new)}
        kept = [(channel, _rename(channel, value, names)) for channel, value in left if channel not in _NOT_KEPT]
        if any(channel == INTERRUPT for channel, _ in kept):
            renamed |= names
        if kept := [(channel, value) for channel, value in kept if channel != INTERRUPT or value]:
            results[new.id] = (new, kept)
    return results, renamed


def _tasks(
    graph: Graph, saved: CheckpointTuple, checkpoint: Checkpoint, channels: Any, managed: Any, step: int
) -> dict[tuple[Any, ...], PregelTask]:
    tasks = prepare_next_tasks(
        checkpoint, [], graph.nodes, channels, managed, saved.config, step, step + 2, for_execution=False
    )
    return {(task.name, *task.path): task for task in tasks.values()}


def _question(task: PregelTask) -> str:
    """The id of what a task asks, by LangGraph's rule: that of the place it runs at."""
    return xxh3_128_hexdigest(f"{task.name}:{task.id}".encode())


def _rename(channel: str, value: Any, names: Mapping[str, str]) -> Any:
    """A subgraph's question has another place, which is gone: it will be asked anew."""
    if channel != INTERRUPT:
        return value
    return tuple(
        Interrupt(value=each.value, id=names[each.id])
        for each in value
        if isinstance(each, Interrupt) and each.id in names
    )


async def _commit(
    saver: RunSaver,
    buffer: RunBuffer,
    saved: CheckpointTuple,
    checkpoint: Checkpoint,
    metadata: Any,
    changed: Any,
    results: Results,
) -> None:
    """Checkpoint, results and event in one commit. To the run it is a checkpoint that was there before."""
    config: RunnableConfig = {
        "configurable": {
            "thread_id": saved.config["configurable"]["thread_id"],
            "checkpoint_ns": "",
            "checkpoint_id": saved.checkpoint["id"],
        }
    }
    place: RunnableConfig = {"configurable": {"checkpoint_ns": "", "checkpoint_id": checkpoint["id"]}}
    try:
        row, blobs = encode_checkpoint(
            saver.serde, config, checkpoint, metadata, changed, saver.stamp, seals=saver.seals
        )
        writes = [
            write
            for task, left in results.values()
            for write in encode_writes(saver.serde, place, left, task.id, task_path_str(task.path))
        ]
    except (TypeError, ValueError) as error:
        raise MigrationFailed(f"what `migrate` returned cannot be stored: {error}") from error
    entry = Entry()
    entry.add_rows([row], blobs, writes)
    told = {"from": metadata["migrated_from"], "to": saver.stamp["topology_hash"], "checkpoint_id": checkpoint["id"]}
    entry.add_event(STATE_MIGRATED, encode({**told, "changed": sorted(changed)}))
    await buffer.committed(buffer.add(entry))


def translate_answers(resume: Any, renamed: Mapping[str, str]) -> Any:
    """Return the answers of a client that knows the questions by their old ids; a single one needs no id.

    Raises MigrationFailed for several of which one has no question any more.
    """
    is_map = isinstance(resume, dict) and resume and all(_is_question(key) for key in resume)
    if not is_map:
        return resume
    known = {*renamed.values()}
    answers = {renamed.get(key, key): value for key, value in resume.items()}
    if answers.keys() <= known:
        return answers
    if len(resume) == 1:
        return next(iter(resume.values()))
    raise MigrationFailed("The thread was moved to another version of its graph: its questions are asked anew.")


def _is_question(key: Any) -> bool:
    return isinstance(key, str) and len(key) == _ID_LENGTH and all(letter in "0123456789abcdef" for letter in key)
