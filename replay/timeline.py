"""Owns the timeline of a thread: its steps, the nodes that led to each, how long they took, and what they changed.

Waiting for a person's answer is told apart from working. Times come from the log; where it was trimmed there are none.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from langgraph.constants import START
from psycopg import AsyncConnection

from threadline.checkpoints.pool import Pool
from threadline.replay.comparison import make_patch
from threadline.replay.executions import Execution, Executions, read_executions
from threadline.replay.snapshots import snapshot
from threadline.replay.steps import Predecessors, Step, read_steps
from threadline.runs.model import JsonObject

_MICRO = 1_000_000
_FIRST_TASK = f", {START}"  # how the path of LangGraph's own first task ends


@dataclass(frozen=True, slots=True)
class Node:
    """A task of a step, all its goes together. `duration` and `wait` in seconds, None when the log does not say."""

    id: str
    name: str
    runs: int
    attempts: int
    workers: list[str]
    duration: float | None
    wait: float
    error: str | None
    tokens: int | None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A step as an analyst reads it. `patch` (RFC 6902) leads from the parent's values to this step's.

    Without a `step` it is what has run behind the last one and has not led to a checkpoint: nodes that failed, that
    were cut off, that wait for an answer or are still at work.
    """

    step: Step | None
    nodes: list[Node] = field(default_factory=list)
    duration: float | None = None
    wait: float = 0.0
    patch: list[JsonObject] = field(default_factory=list)

    def view(self) -> JsonObject:
        """Return the entry as JSON-able values; the state itself is left to whoever asks for it."""
        step, tokens = self.step, [node.tokens for node in self.nodes if node.tokens is not None]
        return {
            "checkpoint_id": step and step.checkpoint_id,
            "checkpoint_ns": step and step.checkpoint_ns,
            "parent_checkpoint_id": step and step.parent_checkpoint_id,
            "step": step and step.metadata.get("step"),
            "source": step and step.metadata.get("source"),
            "run_id": step and step.run_id,
            "created_at": step and step.created_at,
            "nodes": [asdict(node) for node in self.nodes],
            "duration": self.duration,
            "wait": self.wait,
            "tokens": sum(tokens) if tokens else None,
            "interrupts": step.questions if step else [],
            "partial": step.partial if step else [],
            "patch": self.patch,
        }


async def read_timeline(
    pool: Pool, thread_id: UUID, *, limit: int | None = None, subgraphs: bool = False
) -> AsyncIterator[TimelineEntry]:
    """Yield the newest `limit` entries, oldest first, as of one moment. Raises ThreadNotFound."""
    async with snapshot(pool, thread_id) as connection:
        async for entry in compose(connection, thread_id, limit=limit, subgraphs=subgraphs):
            yield entry


async def compose(
    connection: AsyncConnection[Any], thread_id: UUID, *, limit: int | None = None, subgraphs: bool = False
) -> AsyncIterator[TimelineEntry]:
    """Do what `read_timeline` does in the caller's transaction."""
    executions = _Tasks(await read_executions(connection, thread_id))
    predecessors = Predecessors(connection, thread_id)
    last = ""
    async for step in read_steps(connection, thread_id, limit=limit, subgraphs=subgraphs):
        last = step.created_at
        before = await predecessors.values_before(step)
        yield _entry(step, executions.of(step), make_patch(before, step.values))
    if left := executions.left(last, subgraphs=subgraphs):
        yield _entry(None, left, [])


def _entry(step: Step | None, tasks: "_StepTasks", patch: list[JsonObject]) -> TimelineEntry:
    nodes = [_node(task_id, path, goes) for (task_id, path), goes in tasks]
    covered = _covered(go for _, goes in tasks for go in goes)
    return TimelineEntry(step, nodes, covered, max((node.wait for node in nodes), default=0.0), patch)


_StepTasks = list[tuple[tuple[str, str], Sequence[Execution]]]  # (task id, path), and its goes


class _Tasks:
    """Which executions belong to which step."""

    def __init__(self, executions: Executions) -> None:
        self._goes: dict[str, list[Execution]] = {}
        for each in executions.all:
            self._goes.setdefault(each.task_id, []).append(each)
        self._taken: set[str] = set()

    def of(self, step: Step) -> _StepTasks:
        """Return what led to a step."""
        if step.metadata.get("source") != "loop":
            return []
        tasks = step.tasks or self._unsaved(step)
        self._taken.update(task_id for task_id, _ in tasks)
        found = [(task, self._goes.get(task[0], [])) for task in tasks if not task[1].endswith(_FIRST_TASK)]
        return sorted(found, key=lambda each: each[1][0].started if each[1] else 0)

    def left(self, after: str, *, subgraphs: bool) -> _StepTasks:
        """Return what led to no step and began after the time `after`."""
        begin = datetime.fromisoformat(after).timestamp() * _MICRO if after else 0.0
        return [
            ((task_id, ""), goes)
            for task_id, goes in self._goes.items()
            if task_id not in self._taken and goes[-1].started >= begin and (subgraphs or not goes[0].ns)
        ]

    def _unsaved(self, step: Step) -> list[tuple[str, str]]:
        """With durability exit no writes are kept: what the run has done by then is what led here."""
        return [
            (task_id, "")
            for task_id, goes in self._goes.items()
            if task_id not in self._taken
            and "|".join(goes[0].ns) == step.checkpoint_ns
            and str(goes[0].run_id) == step.run_id
            and goes[0].finished is not None
            and not goes[-1].error
        ]


def _node(task_id: str, path: str, goes: Sequence[Execution]) -> Node:
    spent = [go.usage["total_tokens"] for go in goes if go.usage]
    worked = [go.finished - go.started for go in goes if go.finished is not None]
    return Node(
        id=task_id,
        name=goes[0].name if goes else path.rpartition(", ")[2] or "?",
        runs=len(goes),
        attempts=len({(go.run_id, go.attempt) for go in goes}),
        workers=sorted({go.worker for go in goes if go.worker}),
        duration=sum(worked) / _MICRO if worked else None,
        wait=sum(_waits(goes)) / _MICRO,
        error=next((go.error for go in reversed(goes) if go.error), None),
        tokens=sum(spent) if spent else None,
    )


def _waits(goes: Sequence[Execution]) -> Iterable[int]:
    for earlier, later in pairwise(goes):
        if earlier.asked and earlier.finished is not None:
            yield max(0, later.started - earlier.finished)


def _covered(goes: Iterable[Execution]) -> float | None:
    """Return the seconds in which at least one of them was at work."""
    spans = sorted((go.started, go.finished) for go in goes if go.finished is not None)
    if not spans:
        return None
    covered, (begin, end) = 0, spans[0]
    for start, finish in spans[1:]:
        if start > end:
            covered, begin, end = covered + end - begin, start, finish
        else:
            end = max(end, finish)
    return (covered + end - begin) / _MICRO
