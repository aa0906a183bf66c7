"""Owns the firing of crons when they fall due. What their schedules mean is `schedules`' business.

A cron is claimed, its run created and its next time set in one transaction: it fires once, whoever else looks, and
not at all if that is not committed. A timer waits for the next moment; polling only finds what no hint told.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, Error
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import VaultError, vault_of
from threadline.runs.assistants import Assistants
from threadline.runs.configuration import inherit
from threadline.runs.crons import Cron, next_date, open_cron
from threadline.runs.errors import RunError, ThreadBusy, ThreadNotFound
from threadline.runs.heads import Placed, place
from threadline.runs.identity import uuid7
from threadline.runs.model import Assistant, MultitaskStrategy, RunRequest

logger = logging.getLogger("threadline.scheduler")

# A process that is late by less catches up on each moment it missed; after an outage there is one run for all of them.
CATCH_UP = timedelta(seconds=30)
SHORTEST_PAUSE = 0.005  # seconds; while somebody else commits what is due

_SQL = load_statements("threadline.runs", "crons.sql")


@dataclass(slots=True)
class Scheduler:
    """Fires the crons of one database. `on_fired` tells the queue and, if it superseded another run, its worker."""

    pool: Pool
    assistants: Assistants
    poll: timedelta
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
                while await self.fire():
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
            cron = Cron(**row)
            placed = await self._fire(connection, cron, now)
        if placed is not None:
            self.on_fired(placed)
        return True

    async def _fire(self, connection: AsyncConnection[Any], cron: Cron, now: datetime) -> Placed | None:
        """Create the run and set the next time; a cron whose run is refused is due again all the same."""
        due = cron.next_run_date
        assert due is not None
        late = now - due
        placed = None
        facts = {"cron_id": str(cron.cron_id), "due": due.isoformat(), "late_ms": round(late.total_seconds() * 1000)}
        following = None
        try:
            following = next_date(cron.schedule, cron.timezone, cron.end_time, due if late < CATCH_UP else now)
            if cron.end_time is None or due <= cron.end_time:
                cron = await open_cron(vault_of(connection), cron)
                assistant = await self.assistants.get(str(cron.assistant_id))
                async with connection.transaction():
                    placed = await place(connection, make_request(cron, assistant))
        except ThreadBusy:
            logger.info("cron.skipped", extra={**facts, "error": "its thread has runs in flight"})
        except ThreadNotFound as error:
            following = None  # it will not come back
            logger.warning("cron.ended", extra={**facts, "error": str(error)})
        except (RunError, VaultError) as error:
            logger.error("cron.refused", extra={**facts, "error": str(error)})
        else:
            logger.info("cron.fired", extra={**facts, "run_id": str(placed.run.run_id) if placed else None})
        await connection.execute(_SQL["advance"], {"cron_id": cron.cron_id, "next_run_date": following})
        return placed

    async def _next_due(self) -> float:
        poll = self.poll.total_seconds()
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["next_due"])
            row = await cursor.fetchone()
        return poll if not row or row[0] is None else min(poll, max(SHORTEST_PAUSE, row[0]))


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
