"""Owns the moments of crons: noted in the transaction that acts on one, and listed for clients.

Acting on them is `scheduler`'s business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.callers import clear_cron
from threadline.runs.crons import Cron
from threadline.runs.errors import Conflict, NotFound
from threadline.runs.heads import Placed
from threadline.runs.identity import uuid7
from threadline.runs.model import JsonObject

FireStatus = Literal["pending", "fired", "skipped", "dead"]

_SQL = load_statements("threadline.runs", "fires.sql")


@dataclass(frozen=True, slots=True)
class Fire:
    """What became of one moment of a cron. `due_at` is when a run is tried to be created again, `error` why it was not.

    `skipped` is what the cron's own strategy asks for, `dead` what was given up.
    """

    fire_id: UUID
    cron_id: UUID
    scheduled_at: datetime
    status: FireStatus
    attempts: int
    run_id: UUID | None
    thread_id: UUID | None
    error: str | None
    due_at: datetime | None
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A moment of `cron` that is to have its run now; `attempts` is how often that was tried before."""

    fire_id: UUID
    cron: Cron
    scheduled_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt led to: a run, or the reason for none and in how many seconds to try again.

    `ends_cron` where no later moment could ever have one.
    """

    status: FireStatus
    placed: Placed | None = None
    error: str | None = None
    delay: float | None = None
    ends_cron: bool = False


class FireNotFound(NotFound):
    def __init__(self, fire_id: UUID) -> None:
        super().__init__(f"Fire '{fire_id}' of this cron not found")


class FireHasRun(Conflict):
    def __init__(self, fire_id: UUID) -> None:
        super().__init__(f"Fire '{fire_id}' has its run: a moment of a cron is acted on once.")


@dataclass(frozen=True, slots=True)
class Fires:
    """The moments of all crons of one database. `on_change` tells whoever acts on them that there is news."""

    pool: Pool
    on_change: Callable[[], None]

    async def search(
        self, cron_id: UUID, *, status: FireStatus | None = None, limit: int = 10, offset: int = 0
    ) -> list[Fire]:
        """Return a cron's, the latest first; none where there is no such cron. Raises what the rules raise."""
        await clear_cron(self.pool, cron_id)
        parameters = {"cron_id": cron_id, "fire_id": None, "status": status, "limit": limit, "offset": offset}
        return await self._search(parameters)

    async def retry(self, cron_id: UUID, fire_id: UUID) -> Fire:
        """Let a moment without a run be tried again now, with all its attempts before it, and return it.

        Raises FireNotFound, FireHasRun, and what the rules raise.
        """
        await clear_cron(self.pool, cron_id, "update")
        wanted = {"cron_id": cron_id, "fire_id": fire_id, "status": None, "limit": 1, "offset": 0}
        if not await self._search(wanted):
            raise FireNotFound(fire_id)
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["retry"], {"fire_id": fire_id})
            if await cursor.fetchone() is None:
                raise FireHasRun(fire_id)
        self.on_change()
        for fire in await self._search(wanted):
            return fire
        raise FireNotFound(fire_id)

    async def _search(self, parameters: JsonObject) -> list[Fire]:
        async with self.pool.connection() as connection, connection.cursor(row_factory=class_row(Fire)) as cursor:
            await cursor.execute(_SQL["search"], parameters)
            return await cursor.fetchall()


async def open_fire(connection: AsyncConnection[Any], cron: Cron, scheduled_at: datetime) -> Attempt | None:
    """Begin to act on a moment; None when that was done before."""
    parameters = {"fire_id": uuid7(), "cron_id": cron.cron_id, "scheduled_at": scheduled_at}
    cursor = await connection.execute(_SQL["open"], parameters)
    row = await cursor.fetchone()
    return Attempt(row[0], cron, scheduled_at, 0) if row else None


async def claim_fire(connection: AsyncConnection[Any]) -> Attempt | None:
    """Take the moment that is most overdue to be tried again, for the transaction; None when none is."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL["claim"])
        row = await cursor.fetchone()
    if row is None:
        return None
    fire_id, scheduled_at, attempts = (row.pop(name) for name in ("fire_id", "scheduled_at", "attempts"))
    return Attempt(fire_id, Cron(**row), scheduled_at, attempts)


async def note_fire(connection: AsyncConnection[Any], attempt: Attempt, result: Result) -> None:
    """Note in the transaction of the attempt what came of it."""
    run = result.placed.run if result.placed else None
    parameters = {
        "fire_id": attempt.fire_id,
        "status": result.status,
        "run_id": run.run_id if run else None,
        "thread_id": run.thread_id if run else None,
        "error": result.error,
        "delay": result.delay,
    }
    await connection.execute(_SQL["note"], parameters)
