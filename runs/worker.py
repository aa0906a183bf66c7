"""Owns the claiming of runs and the set of those in execution: how many, since when stopped, who is told to stop.

One run's execution is `execution`'s, taking over from dead processes `takeover`'s.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import Error
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from threadline.checkpoints.handler_form import read_context
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import VaultError, vault_of
from threadline.runs.admission import metadata_row
from threadline.runs.execution import Execution
from threadline.runs.model import (
    CancelAction,
    Claim,
    JsonObject,
    LogRow,
    MultitaskStrategy,
    Run,
    RunStatus,
    StopReason,
)
from threadline.runs.sealed_rows import open_runs
from threadline.runs.workshop import Workshop

logger = logging.getLogger("threadline.worker")

_SQL = load_statements("threadline.runs", "queue.sql")
CRASH_DELAY = 10.0  # seconds before a run that broke its worker's own code is tried again


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """`concurrency` runs at once; `poll` is what a lost hint costs; `drain` how long stopping may take."""

    concurrency: int
    poll: timedelta
    drain: timedelta


class Worker:
    """Executes runs of this process: those claimed as they arrive, and those it claims from the queue."""

    def __init__(
        self,
        process_id: UUID,
        pool: Pool,
        workshop: Workshop,
        limits: WorkerLimits,
        on_events: Callable[[list[LogRow]], None],
    ) -> None:
        self._process_id = process_id
        self._pool = pool
        self._workshop = workshop
        self._limits = limits
        self._on_events = on_events
        self._reserved = 0
        self._starved = False  # whether somebody found no place since the last claim
        self._stopping = False
        self._executions: dict[UUID, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._cancels = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    # Places for runs that are claimed as they arrive.

    @property
    def places(self) -> int:
        """How many runs this process takes at once."""
        return self._limits.concurrency

    @property
    def room(self) -> int:
        """How many more runs this process would take."""
        if self._stopping:
            return 0
        return max(0, self._limits.concurrency - len(self._executions) - self._reserved)

    def reserve(self) -> bool:
        """Set a place aside if there is one."""
        if self.room == 0:
            self._starved = True
            return False
        self._reserved += 1
        return True

    def give_back(self) -> None:
        """Return a place that was set aside."""
        self._reserved -= 1

    def start(self, claim: Claim) -> None:
        """Execute a run on the place set aside for it."""
        self._reserved -= 1
        execution = Execution(claim, self._workshop)
        self._executions[claim.run.run_id] = execution
        self._empty.clear()
        task = asyncio.create_task(self._execute(execution), name=f"execution/{claim.run.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What others tell this worker.

    def wake(self) -> None:
        """Something may be claimable."""
        self._work.set()

    def look_for_cancels(self) -> None:
        """A run of this process may have been asked to stop."""
        self._cancels.set()

    # Background work.

    async def claim_for_ever(self) -> None:
        """Claim due runs while there is room: on a hint, when one falls due, and at every poll."""
        while True:
            pause = await self._guard(self._claim)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll.total_seconds() if pause is None else pause):
                    await self._work.wait()
            self._work.clear()

    async def cancel_for_ever(self) -> None:
        """Stop runs that were asked to: on a hint, and at every poll."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.poll.total_seconds()):
                    await self._cancels.wait()
            self._cancels.clear()
            await self._guard(self._cancel)

    async def stop(self) -> None:
        """Take no more runs, let those in execution finish or reach a superstep's end, and hand back the rest.

        Takes at most the drain time: a third of it to finish, a third to come to a superstep's end, and what
        is left after that is cancelled. Nothing is lost either way: a run handed back goes on elsewhere from
        its last checkpoint.
        """
        self._stopping = True
        third = self._limits.drain.total_seconds() / 3
        if not await self._wait_empty(third):
            for execution in self._executions.values():
                execution.request_drain()
            if not await self._wait_empty(third):
                for execution in list(self._executions.values()):
                    execution.stop(StopReason.SHUTDOWN)
                await self._wait_empty(third)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait_empty(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        return self._empty.is_set()

    async def _execute(self, execution: Execution) -> None:
        run = execution.claim.run
        over, delay = False, 0.0
        try:
            over = await execution.run()
            delay = execution.hand_back_delay
        except Exception:
            # Our own fault, not the graph's: the run goes back to the queue rather than vanish with the task.
            logger.exception("run.crashed", extra={"run_id": str(run.run_id)})
            delay = CRASH_DELAY
        finally:
            if not over:
                await self._hand_back(execution.claim, delay)
            # Handed back, it may be ours again by now.
            if self._executions.get(run.run_id) is execution:
                del self._executions[run.run_id]
            if not self._executions:
                self._empty.set()
            if self._starved:
                self._work.set()

    async def _hand_back(self, claim: Claim, delay: float) -> None:
        """Return the run to the queue, if it is still ours to return; the fence decides."""
        parameters = {
            "thread_id": [claim.run.thread_id],
            "run_id": [claim.run.run_id],
            "epoch": [claim.epoch],
            "delay": delay,
        }
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL["release"], parameters)
                if await cursor.fetchone():
                    logger.info("run.handed_back", extra={"run_id": str(claim.run.run_id)})
        except (Error, PoolTimeout, OSError) as error:
            # Without a database the lease passes, and whoever is there then takes the run up.
            logger.warning("run.not_handed_back", extra={"run_id": str(claim.run.run_id), "error": repr(error)})

    async def _guard(self, work: Callable[[], Any]) -> float | None:
        try:
            pause: float | None = await work()
            return pause
        except (Error, PoolTimeout, OSError) as error:
            logger.warning("worker.retry", extra={"error": repr(error)})
            return None

    async def _claim(self) -> float | None:
        """Claim as much as there is room for; returns the seconds after which to look again, at most a poll."""
        room = min(self.room, 64)
        self._starved = room == 0
        if self._starved:
            return None
        self._reserved += room
        claims: list[tuple[Claim, int]] = []
        try:
            claims = await self._take(room)
        finally:
            self._reserved -= room - len(claims)
        self._on_events([metadata_row(claim.run, seq) for claim, seq in claims])
        for claim, _ in claims:
            self.start(claim)
        if len(claims) == room:
            return 0.0
        return await self._next_due()

    async def _take(self, room: int) -> list[tuple[Claim, int]]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_SQL["claim"], {"room": room, "process_id": self._process_id})
            rows = await cursor.fetchall()
        return [await self._open(row) for row in rows]

    async def _open(self, row: JsonObject) -> tuple[Claim, int]:
        """Return a claim with the number of its first event; one that cannot be opened ends as an error of its own."""
        epoch, has_checkpoint, seq = row.pop("epoch"), row.pop("has_checkpoint"), row.pop("last_seq")
        row["status"] = RunStatus(row["status"])
        row["multitask_strategy"] = MultitaskStrategy(row["multitask_strategy"])
        run = Run(**row)
        context = read_context(run.kwargs)
        try:
            (run,) = await open_runs(vault_of(self._pool), [run])
        except VaultError as error:
            return Claim(replace(run, kwargs={}, error=None), epoch, has_checkpoint, error, context), seq
        return Claim(run, epoch, has_checkpoint, encryption_context=context), seq

    async def _next_due(self) -> float:
        poll = self._limits.poll.total_seconds()
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["next_due"])
            row = await cursor.fetchone()
        seconds = row[0] if row else None
        # A due run that was not claimed waits for its thread; its worker tells us when that is free.
        return poll if seconds is None or seconds <= 0 else min(poll, seconds)

    async def _cancel(self) -> None:
        executions = list(self._executions.values())
        if not executions:
            return
        parameters = {
            "thread_id": [execution.claim.run.thread_id for execution in executions],
            "run_id": [execution.claim.run.run_id for execution in executions],
            "epoch": [execution.claim.epoch for execution in executions],
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["cancelled"], parameters)
            rows = await cursor.fetchall()
        # Those that were asked about: a run that was lost may meanwhile be ours again, in another attempt.
        asked = {execution.claim.run.run_id: execution for execution in executions}
        for run_id, action in rows:
            execution = asked[run_id]
            if action is None:
                execution.lose()
            else:
                execution.stop(StopReason.CANCEL, CancelAction(action))
