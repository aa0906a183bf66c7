"""Owns runs as clients see them: created, read, listed, cancelled, deleted. Executing them is the worker's."""

import asyncio
import builtins
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from uuid import UUID

from psycopg.rows import class_row

from threadline.checkpoints.pool import Connections, Pool
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of
from threadline.runs.admission import Admission
from threadline.runs.callers import clear_thread, current_caller
from threadline.runs.errors import (
    Invalid,
    NotFound,
    NothingToCancel,
    RunNotFound,
    ThreadBusy,
    ThreadHeld,
    ThreadNotFound,
    TooManyPending,
)
from threadline.runs.heads import SUPERSEDING, Placed, end_pending, lock_head, place
from threadline.runs.hints import Hints
from threadline.runs.idempotency import Keyed
from threadline.runs.model import CancelAction, MultitaskStrategy, Run, RunRequest, RunStatus
from threadline.runs.permitted import permit_request
from threadline.runs.sealed_rows import open_runs
from threadline.runs.tails import Tails
from threadline.runs.versions import Versions
from threadline.runs.webhook_policy import WebhookPolicy

_SQL = load_statements("threadline.runs", "queue.sql")
COUNT_EVERY = 1.0  # seconds a count of waiting runs is good for


class Queue:
    """The runs of one database."""

    def __init__(
        self,
        pool: Pool,
        admission: Admission,
        hints: Hints,
        tails: Tails,
        versions: Versions,
        *,
        max_pending: int,
        webhook_policy: WebhookPolicy | None = None,
    ) -> None:
        self._pool = pool
        self._admission = admission
        self._hints = hints
        self._tails = tails
        self._versions = versions
        self._max_pending = max_pending
        self._webhook_policy = webhook_policy or WebhookPolicy()
        self._pending = 0
        self._counted_at = float("-inf")
        self._counting = asyncio.Lock()
        # Where this process executes runs, its worker is told directly.
        self.on_pending: Callable[[], None] = _nobody
        self.on_cancel: Callable[[], None] = _nobody

    async def create(self, request: RunRequest) -> Run:
        """Accept a run; it is committed when this returns, and executed by some process sooner or later.

        Raises ThreadNotFound, ThreadBusy (strategy reject), ThreadHeld, VersionPinned, TooManyPending, RefusedWebhook,
        TypeError for an input without a JSON form.
        """
        await self._check([request])
        return await self._accept(request)

    async def create_all(self, requests: Sequence[RunRequest]) -> builtins.list[Run]:
        """Accept these runs, in order; none of them where the limit has no room for all. Raises what `create` does."""
        await self._check(requests)
        return await asyncio.gather(*(self._accept(request) for request in requests))

    async def _accept(self, request: RunRequest) -> Run:
        if (caller := current_caller()) is not None:
            request = await permit_request(self._pool, caller, request)
        await self._versions.check(request)
        if request.create_thread:
            await _ensure_thread(self._pool, request.thread_id)
        try:
            run = await self._admission.admit(request)
        except (ThreadBusy, ThreadHeld):
            if request.multitask_strategy not in SUPERSEDING:
                raise
            run = await self._place(request)
        if run.status is RunStatus.PENDING:
            self._pending += 1
            self._announce_pending()
        else:
            self._hints.announce(threads=[run.thread_id])
        return run

    async def create_within(self, transaction: Keyed, requests: Sequence[RunRequest]) -> list[Run]:
        """Accept these runs, all or none, with the key that they are made under. Raises what `create` does.

        They wait to be claimed: what is claimed as it arrives is committed together with others' runs.
        """
        await self._check(requests)
        runs = [await self._place_within(transaction, request) for request in requests]
        transaction.on_commit(self._announce_pending)
        return runs

    async def _place_within(self, transaction: Keyed, request: RunRequest) -> Run:
        if (caller := current_caller()) is not None:
            request = await permit_request(self._pool, caller, request, transaction)
        if request.create_thread:
            await _ensure_thread(transaction, request.thread_id)
        async with transaction.connection() as connection:
            placed = await place(connection, request)
        self._pending += 1
        transaction.on_commit(lambda: self._tell_placed(placed))
        return placed.run

    def _announce_pending(self) -> None:
        self._hints.announce(queue=True)
        self.on_pending()

    async def _check(self, requests: Sequence[RunRequest]) -> None:
        await self.check_limit(len(requests))
        for webhook in {request.webhook for request in requests}:
            if webhook is not None:
                await self._webhook_policy.check(webhook)

    async def check_limit(self, runs: int = 1) -> None:
        """Raise TooManyPending unless so many more runs may wait, and Invalid if so many never may.

        Between two counts what this process adds is added here; what others add, or requests at the same moment, is
        seen by the next one.
        """
        if runs > self._max_pending:
            raise Invalid(f"{runs} runs at once are more than may ever wait ({self._max_pending}). Send fewer at once.")
        if monotonic() - self._counted_at > COUNT_EVERY and not self._counting.locked():
            async with self._counting, self._pool.connection() as connection:
                cursor = await connection.execute(_SQL["count_pending"])
                row = await cursor.fetchone()
                self._pending = row[0] if row else 0
                self._counted_at = monotonic()
        if self._pending + runs > self._max_pending:
            raise TooManyPending(self._max_pending, retry_after=1)

    async def _place(self, request: RunRequest) -> Run:
        """Accept a run in the place of those that its thread has; deciding and doing it is one transaction."""
        async with self._pool.connection() as connection, connection.transaction():
            placed = await place(connection, request)
        self._tell_placed(placed)
        return placed.run

    def _tell_placed(self, placed: Placed) -> None:
        self._tell(placed.run.thread_id, placed.superseded)

    def _tell(self, thread_id: UUID, active: UUID | None) -> None:
        self._tails.hint([thread_id])
        self._hints.announce(threads=[thread_id], cancels=[active] if active else [])
        if active is not None:
            self.on_cancel()

    async def get(self, thread_id: UUID, run_id: UUID) -> Run:
        """Return a run of the thread. Raises RunNotFound."""
        await clear_thread(self._pool, thread_id, run_id=run_id)
        async with self._pool.connection() as connection, connection.cursor(row_factory=_run_row) as cursor:
            await cursor.execute(_SQL["get"], {"thread_id": thread_id, "run_id": run_id})
            run = await cursor.fetchone()
        if run is None:
            raise RunNotFound(run_id)
        return (await open_runs(vault_of(self._pool), [_typed(run)]))[0]

    async def list(self, thread_id: UUID, *, limit: int = 10, offset: int = 0, status: str | None = None) -> list[Run]:
        """Return the thread's runs, newest first. Raises ThreadNotFound."""
        await clear_thread(self._pool, thread_id)
        parameters = {"thread_id": thread_id, "limit": limit, "offset": offset, "status": status}
        async with self._pool.connection() as connection, connection.cursor(row_factory=_run_row) as cursor:
            await cursor.execute(_SQL["list"], parameters)
            runs = await cursor.fetchall()
        if not runs:
            raise ThreadNotFound(thread_id)
        return await open_runs(vault_of(self._pool), [_typed(run) for run in runs if run.run_id is not None])

    async def cancel(self, thread_id: UUID, run_id: UUID, action: CancelAction) -> None:
        """Ask for a run to be stopped; the request is committed when this returns.

        A pending run is final at once. A running one is stopped by its worker, or, should that die, by the
        process that takes up after it. Raises NothingToCancel.
        """
        await clear_thread(self._pool, thread_id, "update", run_id=run_id, action=str(action))
        async with self._pool.connection() as connection, connection.transaction():
            head = await lock_head(connection, thread_id)
            cursor = await connection.execute(_SQL["get"], {"thread_id": thread_id, "run_id": run_id})
            row = await cursor.fetchone()
            if head is None or row is None:
                raise NothingToCancel("No runs found to cancel.")
            if row[4] == RunStatus.PENDING:
                await end_pending(connection, thread_id, run_id, action)
            elif head.run_id == run_id:
                await connection.execute(
                    _SQL["request_cancel"], {"thread_id": thread_id, "run_id": run_id, "action": str(action)}
                )
            else:
                raise NothingToCancel(f"No matching runs to cancel. Run {run_id} is final: its status is {row[4]}.")
        self._tell(thread_id, run_id)

    async def cancel_many(self, thread_id: UUID, run_ids: Sequence[UUID], action: CancelAction) -> None:
        """Ask for several runs of a thread to be stopped. Raises NothingToCancel when none of them can be."""
        if not await self._cancel_each([(thread_id, run_id) for run_id in run_ids], action):
            raise NothingToCancel("No runs found to cancel.")

    async def cancel_all(self, statuses: Sequence[RunStatus], action: CancelAction) -> None:
        """Ask for the runs of all threads that have one of `statuses` to be stopped. Raises NothingToCancel."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["in_flight"], {"statuses": [str(status) for status in statuses]})
            found = await cursor.fetchall()
        if not await self._cancel_each([(thread_id, run_id) for thread_id, run_id in found], action):
            raise NothingToCancel("No runs found to cancel.")

    async def _cancel_each(self, runs: Sequence[tuple[UUID, UUID]], action: CancelAction) -> int:
        cancelled = 0
        for thread_id, run_id in runs:
            with suppress(NotFound):  # it has ended meanwhile, or it is somebody else's
                await self.cancel(thread_id, run_id, action)
                cancelled += 1
        return cancelled

    async def delete(self, thread_id: UUID, run_id: UUID) -> None:
        """Delete a run; one that is in flight is stopped first. Its events and checkpoints stay. Raises RunNotFound."""
        await clear_thread(self._pool, thread_id, "delete", run_id=run_id)
        run = await self.get(thread_id, run_id)
        if not run.status.is_final:
            with suppress(NothingToCancel):  # it ended in between, which is all we wanted
                await self.cancel(thread_id, run_id, CancelAction.INTERRUPT)
                await self._tails.result(run)
        async with self._pool.connection() as connection:
            await connection.execute(_SQL["delete_run"], {"thread_id": thread_id, "run_id": run_id})


_run_row = class_row(Run)


async def _ensure_thread(connections: Connections, thread_id: UUID) -> None:
    async with connections.connection() as connection:
        await connection.execute(_SQL["ensure_threads"], {"thread_id": [thread_id]})


def _nobody() -> None:
    """No worker in this process."""


def _typed(run: Run) -> Run:
    return replace(run, status=RunStatus(run.status), multitask_strategy=MultitaskStrategy(run.multitask_strategy))
