"""Owns the firing of crons when they fall due. What their schedules mean is `schedules`' business.

A cron is claimed, its run created, the moment noted and its next time set in one transaction: it fires once, whoever
else looks, and not at all if that is not committed. A moment whose run cannot be created is tried again until the
next one. A timer waits for what falls due; polling only finds what no hint told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, Error, OperationalError
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from threadline.checkpoints.handler_form import read_context
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import VaultError, sealing_in, vault_of
from threadline.runs.assistants import Assistants
from threadline.runs.configuration import inherit
from threadline.runs.crons import Cron, next_date, open_cron
from threadline.runs.errors import Invalid, RunError, ThreadBusy, ThreadNotFound
from threadline.runs.fires import Attempt, Result, claim_fire, note_fire, open_fire
from threadline.runs.heads import Placed, place
from threadline.runs.identity import uuid7
from threadline.runs.model import Assistant, MultitaskStrategy, RunRequest

logger = logging.getLogger("threadline.scheduler")

# A process that is late by less catches up on each moment it missed; after an outage there is one run for all of them.
CATCH_UP = timedelta(seconds=30)
SHORTEST_PAUSE = 0.005  # seconds; while somebody else commits what is due
MAX_ATTEMPTS = 12
LONGEST_PAUSE = 600.0  # seconds; the pauses before it are 1, 2, 4, ...

_SQL = load_statements("threadline.runs", "crons.sql")


@dataclass(slots=True)
class Scheduler:
    """Fires the crons of one database.

    `check_limit` raises TooManyPending. `on_fired` tells the queue and, if it superseded another run, its worker.
    """

    pool: Pool
    assistants: Assistants
    poll: timedelta
    check_limit: Callable[[], Awaitable[None]]
    on_fired: Callable[[Placed], None]
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """The time of some cron may have changed."""
        self._changed.set()

    async def fire_for_ever(self) -> None:
        """Fire what falls due, at the moment it does."""
        while True:
            pause = self.poll.total_seconds()
            try:
                while await self.fire() or await self.retry():
                    continue
                pause = await self._next_due()
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("scheduler.retry", extra={"error": repr(error)})
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            self._changed.clear()

    async def fire(self) -> bool:
        """Fire the cron that is most overdue; false when none is."""
        async with self.pool.connection() as connection, connection.transaction():
            async with connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(_SQL["claim"])
                row = await cursor.fetchone()
            if row is None:
                return False
            now: datetime = row.pop("now")
            result = await self._fire(connection, Cron(**row), now)
        self._tell(result)
        return True

    async def retry(self) -> bool:
        """Try once more the moment that is most overdue for it; false when none is."""
        async with self.pool.connection() as connection, connection.transaction():
            attempt = await claim_fire(connection)
            if attempt is None:
                return False
            result = Result("dead", error="the cron was switched off")
            if attempt.cron.enabled:
                result = await self._try(connection, attempt)
            await note_fire(connection, attempt, result)
        self._tell(result)
        return True

    def _tell(self, result: Result | None) -> None:
        if result is not None and result.placed is not None:
            self.on_fired(result.placed)

    async def _fire(self, connection: AsyncConnection[Any], cron: Cron, now: datetime) -> Result | None:
        """Act on the moment and set the next one; a cron whose run is refused is due again all the same."""
        due = cron.next_run_date
        assert due is not None
        result = None
        if cron.end_time is None or due <= cron.end_time:
            attempt = await open_fire(connection, cron, due)
            if attempt is not None:
                result = await self._try(connection, attempt)
                await note_fire(connection, attempt, result)
        following = None
        if result is None or not result.ends_cron:
            following = _following(cron, due if now - due < CATCH_UP else now)
        await connection.execute(_SQL["advance"], {"cron_id": cron.cron_id, "next_run_date": following})
        return result

    async def _try(self, connection: AsyncConnection[Any], attempt: Attempt) -> Result:
        """Create the run of a moment, or say why not and what follows from that."""
        cron = attempt.cron
        facts = {"cron_id": str(cron.cron_id), "due": attempt.scheduled_at.isoformat(), "attempt": attempt.attempts + 1}
        try:
            await self.check_limit()
            context = read_context(cron.payload, cron.kwargs)
            cron = await open_cron(vault_of(connection), cron)
            assistant = await self.assistants.get(str(cron.assistant_id))
            async with connection.transaction():
                with sealing_in(context):
                    placed = await place(connection, make_request(cron, assistant))
        except ThreadBusy:
            reason = "its thread has runs in flight"
            logger.info("cron.skipped", extra={**facts, "error": reason})
            return Result("skipped", error=reason)
        except ThreadNotFound as error:
            logger.warning("cron.ended", extra={**facts, "error": str(error)})
            return Result("dead", error=str(error), ends_cron=True)
        except (RunError, VaultError) as error:
            return _refused(attempt, facts, str(error))
        except (OperationalError, OSError):
            raise  # the database's trouble, not the cron's
        except Exception as error:  # whatever is wrong with one cron must not hold up the others
            return _refused(attempt, facts, repr(error))
        logger.info("cron.fired", extra={**facts, "run_id": str(placed.run.run_id)})
        return Result("fired", placed)

    async def _next_due(self) -> float:
        poll = self.poll.total_seconds()
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["next_due"])
            row = await cursor.fetchone()
        return poll if not row or row[0] is None else min(poll, max(SHORTEST_PAUSE, row[0]))


def _refused(attempt: Attempt, facts: dict[str, Any], reason: str) -> Result:
    tries = attempt.attempts + 1
    if tries >= MAX_ATTEMPTS:
        logger.error("cron.given_up", extra={**facts, "error": reason})
        return Result("dead", error=reason)
    delay = min(2.0**attempt.attempts, LONGEST_PAUSE)
    logger.error("cron.refused", extra={**facts, "error": reason, "delay": round(delay)})
    return Result("pending", error=reason, delay=delay)


def _following(cron: Cron, after: datetime) -> datetime | None:
    try:
        return next_date(cron.schedule, cron.timezone, cron.end_time, after)
    except Invalid as error:
        logger.error("cron.ended", extra={"cron_id": str(cron.cron_id), "error": str(error)})
        return None


def make_request(cron: Cron, assistant: Assistant) -> RunRequest:
    """Return the run that a cron starts now, with its assistant as it is now."""
    cron_id = str(cron.cron_id)
    is_hidden = cron.thread_id is None and cron.on_run_completed != "keep"
    return RunRequest(
        run_id=uuid7(),
        thread_id=cron.thread_id or uuid7(),
        assistant_id=assistant.assistant_id,
        graph_id=assistant.graph_id,
        kwargs=inherit(cron.kwargs, assistant, {"cron_id": cron_id}),
        metadata={**cron.metadata, "cron_id": cron_id},
        inherited_metadata=assistant.metadata,
        multitask_strategy=MultitaskStrategy(cron.multitask_strategy),
        fresh_thread=cron.thread_id is None,
        hidden_thread=is_hidden,
        webhook=cron.kwargs.get("webhook"),
        thread_metadata=cron.metadata if cron.thread_id is None else {},
    )
