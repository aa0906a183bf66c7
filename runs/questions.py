"""Owns which questions of a thread wait for an answer, as of now: also those of a run that has not quite ended."""

from uuid import UUID

import orjson

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of
from threadline.runs.model import INPUT_REQUESTED, LogRow, Run, RunStatus, Thread, ThreadStatus
from threadline.runs.queue import Queue
from threadline.runs.sealed_rows import open_log
from threadline.runs.threads import Threads

_LOG = load_statements("threadline.runs", "log.sql")
MAX_IN_FLIGHT = 1000


class Questions:
    """The questions of the threads of one database."""

    def __init__(self, pool: Pool, threads: Threads, queue: Queue) -> None:
        self._pool = pool
        self._threads = threads
        self._queue = queue

    async def of(self, thread_id: UUID) -> set[str]:
        """Return the ids of the questions that nobody has answered. Raises ThreadNotFound.

        A client hears of a question before the run that asks it has ended, and may be that quick with its answer.
        """
        # In the order in which a run moves on, so that none is missed: a later look finds what an earlier one lost.
        pending = await self._queue.list(thread_id, limit=MAX_IN_FLIGHT, status=RunStatus.PENDING)
        running = await self._queue.list(thread_id, limit=1, status=RunStatus.RUNNING)
        if running:
            asked = await self._asked_by(running[0])
        else:
            asked = _left_open(await self._threads.get(thread_id))
        for run in (*running, *pending):
            asked -= _answered_by(run)
        return asked

    async def _asked_by(self, run: Run) -> set[str]:
        async with self._pool.connection() as connection:
            parameters = {"thread_id": run.thread_id, "run_id": run.run_id, "after": run.start_seq}
            cursor = await connection.execute(_LOG["of_run"], parameters, binary=True)
            rows = [LogRow(run.thread_id, *row) for row in await cursor.fetchall()]
        rows = await open_log(vault_of(self._pool), rows)
        return {
            orjson.loads(event.data)["id"] for row in rows for event in row.events() if event.name == INPUT_REQUESTED
        }


def _left_open(thread: Thread) -> set[str]:
    waits = thread.status in (ThreadStatus.INTERRUPTED, ThreadStatus.BUSY)
    return {each["id"] for interrupts in thread.interrupts.values() for each in interrupts} if waits else set()


def _answered_by(run: Run) -> set[str]:
    """The questions that a run brings answers for; an answer without a name is for the only one there is."""
    command = run.kwargs.get("command") or {}
    resume = command.get("resume")
    return set(resume) if isinstance(resume, dict) else set()
