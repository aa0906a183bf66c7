"""Owns which runs make up a task of an agent, and the state the task is in; how agents speak of it is `api.a2a`'s.

A task is the run that a message started, together with the runs that answered its questions. The first one's id is
the task's, and all carry it in their metadata: a task is as durable as its runs are.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from psycopg.rows import class_row

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.callers import clear_thread, permit
from threadline.runs.model import JsonObject

_SQL = load_statements("threadline.runs", "tasks.sql")

MOST_COUNTED = 10_000

# In the metadata of runs: the task one belongs to, and the id its sender gave the message.
TASK = "a2a_task"
MESSAGE = "a2a_message"


class State(StrEnum):
    """Where a task is; the last three are final."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input-required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        return self in (State.COMPLETED, State.FAILED, State.CANCELED)


@dataclass(frozen=True, slots=True)
class Task:
    """A task: `run_id` is the run that stands for it now, `task_id` the one that began it."""

    task_id: UUID
    thread_id: UUID
    assistant_id: UUID
    run_id: UUID
    state: State
    message_id: str | None
    created_at: datetime
    changed_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", State(self.state))


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks of an assistant: of one thread, in one state, changed after a time."""

    assistant_id: UUID
    thread_id: UUID | None = None
    state: State | None = None
    changed_after: datetime | None = None

    async def parameters(self) -> JsonObject:
        """Return what the statements are told, with what the caller may see of threads."""
        return {
            "granted": await permit("threads", "search", {"metadata": {}, "values": {}, "status": None}),
            "assistant_id": self.assistant_id,
            "thread_id": self.thread_id,
            "state": self.state,
            "changed_after": self.changed_after,
        }


class Tasks:
    """The tasks in the runs of one database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, thread_id: UUID, task_id: UUID) -> Task | None:
        """Return the task that a run of this thread began. Raises ThreadNotFound for a thread of somebody else."""
        await clear_thread(self._pool, thread_id)
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Task)) as cursor:
            await cursor.execute(_SQL["find"], {"thread_id": thread_id, "task_id": task_id})
            return await cursor.fetchone()

    async def list(self, wanted: TaskFilter, *, limit: int, before: tuple[datetime, UUID] | None = None) -> list[Task]:
        """Return the tasks that agents began, newest first, from behind the creation and id in `before` on."""
        parameters = await wanted.parameters()
        place = {"before": before[0] if before else None, "before_task": before[1] if before else None}
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Task)) as cursor:
            await cursor.execute(_SQL["list"], parameters | place | {"limit": limit})
            return await cursor.fetchall()

    async def count(self, wanted: TaskFilter) -> int:
        """Return how many there are, at most 10,000."""
        parameters = await wanted.parameters()
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["count"], parameters | {"most": MOST_COUNTED})
            row = await cursor.fetchone()
        return int(row[0]) if row else 0
