"""Owns clearing away what nobody needs: threads of stateless runs, old keys, what is settled, the long dead."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import LiteralString

from psycopg import Error
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.expiry import Expiry
from threadline.runs.idempotency import forget_keys

logger = logging.getLogger("threadline.sweep")

_SQL = load_statements("threadline.runs", "sweep.sql")
_LEASE = load_statements("threadline.runs", "lease.sql")
_ENDINGS = load_statements("threadline.runs", "endings.sql")
_OUTBOXES = {name: load_statements("threadline.runs", f"{name}.sql")["forget"] for name in ("deliveries", "fires")}
_LEFTOVERS = (_LEASE["forget_dead"], _LEASE["forget_writers"], _ENDINGS["forget_bases"])

EVERY = 10.0  # seconds
BATCH = 500  # threads, or rows of an outbox, in one transaction
SHARE = 5.0  # seconds of these that clearing away what is old may take, so that a backlog leaves room for the rest


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long webhooks and fires of crons can be read: those that went well, and those that were given up."""

    settled: timedelta = timedelta(days=7)
    dead: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Sweeps now and then, until nothing is left to sweep; processes that sweep at once take different threads."""

    pool: Pool
    keeping: Keeping = field(default_factory=Keeping)
    expiry: Expiry | None = None

    async def sweep_for_ever(self) -> None:
        """Sweep every few seconds."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.sweep()
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("sweep.retry", extra={"error": repr(error)})

    async def sweep(self) -> None:
        """Delete what nobody needs: stateless threads, old keys, rows of the long dead, what runs left too long ago."""
        while await self._sweep_threads() == BATCH:
            continue  # there may be more
        async with self.pool.connection() as connection:
            for statement in _LEFTOVERS:
                await connection.execute(statement)
        await forget_keys(self.pool)
        for statement in _OUTBOXES.values():
            while await self._forget(statement) == BATCH:
                continue  # there may be more
        if self.expiry is not None:
            await self.expiry.expire(SHARE)

    async def _forget(self, statement: LiteralString) -> int:
        parameters = {"settled": self.keeping.settled, "dead": self.keeping.dead, "batch": BATCH}
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return cursor.rowcount

    async def _sweep_threads(self) -> int:
        async with self.pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(_SQL["take_expired"], {"batch": BATCH})
            expired = [row[0] for row in await cursor.fetchall()]
            if expired:
                await connection.execute(_SQL["delete_threads"], {"thread_ids": expired})
        return len(expired)
