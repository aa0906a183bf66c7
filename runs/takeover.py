"""Owns taking over from dead processes: their runs go on elsewhere, or end where they must.

Who is dead is decided in `lease.sql` and `queue.sql`; what can be seen on this host is told them from here.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from psycopg import AsyncConnection, Error
from psycopg.rows import TupleRow
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.endings import Abandoned, Endings
from threadline.runs.hints import Hints
from threadline.runs.hosts import Identity, identify, is_gone

logger = logging.getLogger("threadline.takeover")

_QUEUE = load_statements("threadline.runs", "queue.sql")
_LEASE = load_statements("threadline.runs", "lease.sql")


@dataclass(frozen=True, slots=True)
class Takeover:
    """Takes up what dead processes left: at its start, once a poll, and when somebody is said to have died."""

    process_id: UUID
    pool: Pool
    endings: Endings
    hints: Hints
    lease: timedelta
    poll: timedelta
    max_attempts: int
    on_released: Callable[[], None]
    identity: Identity = field(default_factory=identify)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look now: somebody has died."""
        self._wake.set()

    async def watch_for_ever(self) -> None:
        """Look now, at every poll, and when told to."""
        while True:
            self._wake.clear()
            try:
                await self.look()
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("takeover.retry", extra={"error": repr(error)})
            with suppress(TimeoutError):
                async with asyncio.timeout(self.poll.total_seconds()):
                    await self._wake.wait()

    async def look(self) -> None:
        """Release or end the runs of dead processes."""
        async with self.pool.connection() as connection:
            await self._look_around(connection)
            self.hints.listeners = await _fetch_value(connection, "count_others", self.process_id) > 0
            cursor = await connection.execute(_QUEUE["steady"], {"process_id": self.process_id, "lease": self.lease})
            steady, calm = await cursor.fetchone() or (False, False)
            limits = {"max_attempts": self.max_attempts, "steady": steady, "calm": calm}
            cursor = await connection.execute(_QUEUE["reap"], limits)
            released = await cursor.fetchall()
            cursor = await connection.execute(_QUEUE["abandoned"], limits)
            abandoned = [Abandoned(*row) for row in await cursor.fetchall()]
        for run_id, thread_id in released:
            logger.warning("run.taken_over", extra={"run_id": str(run_id), "thread_id": str(thread_id)})
        if released:
            self.on_released()
            self.hints.announce(queue=True)
        for item in abandoned:
            await self._end(item)

    async def _look_around(self, connection: AsyncConnection[TupleRow]) -> None:
        """Say which processes of this host have ended, however they were stopped from saying so themselves."""
        if self.identity.host is None:
            return
        parameters = {"process_id": self.process_id, "host": self.identity.host}
        cursor = await connection.execute(_LEASE["find_neighbours"], parameters)
        gone = [process_id for process_id, pid, birth in await cursor.fetchall() if is_gone(pid, birth)]
        if gone:
            await connection.execute(_LEASE["declare_gone"], {"process_ids": gone})

    async def _end(self, abandoned: Abandoned) -> None:
        """End one run; what the database refuses of one must not keep the others waiting."""
        try:
            await self.endings.end_abandoned(abandoned)
        except (Error, PoolTimeout, OSError) as error:
            logger.warning("takeover.not_ended", extra={"run_id": str(abandoned.run_id), "error": repr(error)})


async def _fetch_value(connection: AsyncConnection[TupleRow], name: str, process_id: UUID) -> int:
    cursor = await connection.execute(_LEASE[name], {"process_id": process_id})
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
