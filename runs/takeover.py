"""Owns taking over from dead processes: their runs go on elsewhere, or end where they must."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from psycopg import AsyncConnection, Error
from psycopg.rows import TupleRow
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.endings import Abandoned, Endings
from threadline.runs.hints import Hints

logger = logging.getLogger("threadline.takeover")

_QUEUE = load_statements("threadline.runs", "queue.sql")
_LEASE = load_statements("threadline.runs", "lease.sql")


@dataclass(frozen=True, slots=True)
class Takeover:
    """Takes up what dead processes left, once a poll."""

    process_id: UUID
    pool: Pool
    endings: Endings
    hints: Hints
    lease: timedelta
    poll: timedelta
    max_attempts: int
    on_released: Callable[[], None]

    async def watch_for_ever(self) -> None:
        """Look at every poll."""
        while True:
            await asyncio.sleep(self.poll.total_seconds())
            try:
                await self.look()
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("takeover.retry", extra={"error": repr(error)})

    async def look(self) -> None:
        """Release or end the runs of processes whose lease has passed."""
        async with self.pool.connection() as connection:
            self.hints.listeners = await _fetch_value(connection, "count_others", self.process_id) > 0
            cursor = await connection.execute(_QUEUE["steady"], {"process_id": self.process_id, "lease": self.lease})
            row = await cursor.fetchone()
            if not row or not row[0]:
                return
            cursor = await connection.execute(_QUEUE["reap"], {"max_attempts": self.max_attempts, "steady": True})
            released = await cursor.fetchall()
            cursor = await connection.execute(_QUEUE["abandoned"], {"max_attempts": self.max_attempts})
            abandoned = [Abandoned(*row) for row in await cursor.fetchall()]
        for run_id, thread_id in released:
            logger.warning("run.taken_over", extra={"run_id": str(run_id), "thread_id": str(thread_id)})
        if released:
            self.on_released()
            self.hints.announce(queue=True)
        for item in abandoned:
            await self._end(item)

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
