"""Owns how long threads are kept: pruning on demand, and the sweep of those whose time to live is over.

What a thread's time is, is set where threads are created and changed.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, Error
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.keeping import KeepSettings
from threadline.runs.callers import clear_thread
from threadline.runs.deliveries import disown_deliveries
from threadline.runs.errors import ThreadNotFound
from threadline.runs.expiry import Expiry, prune_checkpoints
from threadline.runs.model import Ttl, TtlStrategy

logger = logging.getLogger("threadline.retention")

_SQL = load_statements("threadline.runs", "retention.sql")
_SWEEP = load_statements("threadline.runs", "sweep.sql")

BATCH = 100  # threads in one transaction


@dataclass(frozen=True, slots=True)
class ThreadLifetimes:
    """What langgraph.json says of threads' time to live: the default, how often to sweep, how many at once."""

    default: Ttl | None = None
    sweep_interval: timedelta = timedelta(minutes=5)
    sweep_limit: int = 1000


@dataclass(frozen=True, slots=True)
class Retention:
    """Removes what is not kept, under the heads of its threads. `announce` tells the streams of a thread; `expiry`
    is about its ended runs."""

    pool: Pool
    lifetimes: ThreadLifetimes
    announce: Callable[[UUID], None]
    expiry: Expiry

    async def set_default(self) -> None:
        """Make what langgraph.json says of the time to live hold for threads from now on."""
        default = self.lifetimes.default
        async with self.pool.connection() as connection:
            if default is None or default.minutes is None:
                await connection.execute(_SQL["forget_default"])
            else:
                strategy = str(default.strategy or TtlStrategy.DELETE)
                parameters = {"ttl_minutes": default.minutes, "ttl_strategy": strategy}
                await connection.execute(_SQL["set_default"], parameters)

    async def prune(self, thread_ids: Sequence[UUID], strategy: TtlStrategy) -> int:
        """Delete these threads, or all but their latest state, and return how many.

        Ids that are no threads are skipped, as are threads with runs in flight that are to keep their state, and
        threads of somebody else.
        """
        pruned = 0
        wanted = [thread_id for thread_id in sorted(set(thread_ids)) if await self._may(thread_id, strategy)]
        for start in range(0, len(wanted), BATCH):
            pruned += await self._prune(wanted[start : start + BATCH], strategy)
        return pruned

    async def _may(self, thread_id: UUID, strategy: TtlStrategy) -> bool:
        action = "delete" if strategy is TtlStrategy.DELETE else "update"
        try:
            await clear_thread(self.pool, thread_id, action)
        except ThreadNotFound:
            return False
        return True

    async def _prune(self, thread_ids: Sequence[UUID], strategy: TtlStrategy) -> int:
        async with self.pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(_SQL["take_heads"], {"thread_ids": thread_ids})
            heads = await cursor.fetchall()
            is_whole = strategy is TtlStrategy.DELETE
            taken = [thread_id for thread_id, inflight in heads if is_whole or inflight == 0]
            await _remove(connection, taken, strategy)
        self._tell(taken)
        return len(taken)

    async def sweep_for_ever(self) -> None:
        """Sweep now and then; processes that sweep at once take different threads."""
        while True:
            await asyncio.sleep(self.lifetimes.sweep_interval.total_seconds())
            try:
                await self.sweep()
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("retention.retry", extra={"error": repr(error)})

    async def sweep(self) -> int:
        """Delete or prune threads whose time is over, up to the limit, and return how many."""
        for statement in ("adopt", "rearm"):
            while await self._touch(statement) == BATCH:
                continue  # there may be more
        async with self.pool.connection() as connection:
            await connection.execute(_SQL["adopted"])
        swept = 0
        while swept < self.lifetimes.sweep_limit:
            took = await self._sweep_some(min(BATCH, self.lifetimes.sweep_limit - swept))
            swept += took
            if took == 0:
                break
        if swept:
            logger.info("retention.swept", extra={"threads": swept})
        return swept

    async def _touch(self, statement: str) -> int:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL[statement], {"batch": BATCH})
            return len(await cursor.fetchall())

    async def _sweep_some(self, batch: int) -> int:
        async with self.pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(_SQL["take_expired"], {"batch": batch})
            taken = await cursor.fetchall()
            for strategy in TtlStrategy:
                thread_ids = [thread_id for thread_id, chosen in taken if chosen == strategy]
                await _remove(connection, thread_ids, strategy)
                if strategy is TtlStrategy.KEEP_LATEST:
                    await connection.execute(_SQL["look_again"], {"thread_ids": thread_ids})
        self._tell([row[0] for row in taken])
        return len(taken)

    def _tell(self, thread_ids: Sequence[UUID]) -> None:
        for thread_id in thread_ids:
            self.announce(thread_id)


def make_retention(
    pool: Pool, lifetimes: ThreadLifetimes, keep: KeepSettings, announce: Callable[[UUID], None]
) -> Retention:
    """Return what keeps whole threads as `lifetimes` says, and what their ended runs left as `keep` does."""
    return Retention(pool, lifetimes, announce, Expiry(pool, keep))


async def _remove(connection: AsyncConnection[Any], thread_ids: Sequence[UUID], strategy: TtlStrategy) -> None:
    """Behind the heads of these threads, in their transaction."""
    if not thread_ids:
        return
    if strategy is TtlStrategy.DELETE:
        await connection.execute(_SWEEP["delete_threads"], {"thread_ids": thread_ids})
        await disown_deliveries(connection, thread_ids)
        return
    await prune_checkpoints(connection, thread_ids)
    await connection.execute(_SQL["trim"], {"thread_ids": thread_ids})
