"""Owns what finished runs leave behind and for how long: their events, their checkpoints, and their rows.

How long whole threads live is `retention`'s; which settings there are, `settings` says.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.keeping import KeepSettings

logger = logging.getLogger("threadline.expiry")

_SQL = load_statements("threadline.runs", "expiry.sql")
_RETENTION = load_statements("threadline.runs", "retention.sql")
_SAVER = load_statements("threadline.checkpoints", "saver.sql")
_EFFECTS = load_statements("threadline.checkpoints", "effects.sql")

BATCH = 200  # runs whose events are looked for together
CHECKPOINT_BATCH = 20  # runs whose checkpoints are
EVENT_ROWS = 2000  # rows of the log in one transaction
CHECKPOINTS = 100  # in one transaction, during which nothing can start on their threads
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID_EPOCH = 0x01B21DD213814000  # from 1582 to 1970, in tenths of microseconds

Clear = Callable[[datetime], Awaitable[bool]]


@dataclass(slots=True)
class Expiry:
    """Clears away what is older than `keep` says; `removed` counts what this process removed, by kind."""

    pool: Pool
    keep: KeepSettings
    removed: Counter[str] = field(default_factory=Counter)

    async def expire(self, seconds: float) -> None:
        """Clear away what is old, for about so many seconds; what is left then is there the next time."""
        before = self.removed.copy()
        until = monotonic() + seconds
        policies: list[tuple[timedelta | None, Clear]] = [
            (self.keep.checkpoints, self.thin_checkpoints),
            (self.keep.events, self.remove_events),
            (self.keep.runs, self.remove_runs),
        ]
        for age, clear in policies:
            if age is not None:
                cutoff = await self._cutoff(age)
                while await clear(cutoff) and monotonic() < until:
                    continue  # there may be more
        if removed := self.removed - before:
            logger.info("expiry.removed", extra=dict(removed))

    async def _cutoff(self, age: timedelta) -> datetime:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["cutoff"], {"age": age})
            row = await cursor.fetchone()
        assert row is not None  # it selects no table
        before: datetime = row[0]
        return before

    async def remove_events(self, before: datetime) -> bool:
        """Remove the events of some runs that ended before; return whether there was anything.

        The horizon is moved first, for a moment under the heads; what lies before it is then nobody's any more.
        """
        async with self.pool.connection() as connection:
            async with connection.transaction():
                runs = await _take(connection, "find_logs", before, BATCH)
                threads = sorted(set(runs.values()))
                await connection.execute(_SQL["move_horizon"], {"thread_ids": threads, "before": before})
            rows = EVENT_ROWS
            while rows == EVENT_ROWS:
                parameters = {"thread_ids": threads, "batch": EVENT_ROWS}
                cursor = await connection.execute(_SQL["delete_events"], parameters)
                rows, events, size = await cursor.fetchone() or (0, 0, 0)
                self.removed.update(events=events, event_bytes=size)
            marked = await connection.execute(_SQL["mark_logs"], {"run_ids": list(runs)})
        return marked.rowcount > 0

    async def thin_checkpoints(self, before: datetime) -> bool:
        """Leave the newest checkpoints, and what is younger, of some threads; return whether there was anything."""
        async with self.pool.connection() as connection, connection.transaction():
            runs = await _take(connection, "find_checkpoints", before, CHECKPOINT_BATCH, at_rest=True)
            threads = sorted(set(runs.values()))
            removed = await prune_checkpoints(
                connection,
                threads,
                keep=self.keep.latest_checkpoints,
                ends=self.keep.last_checkpoints,
                before=before,
                most=CHECKPOINTS,
            )
            if removed:
                await connection.execute(_SQL["raise_epoch"], {"thread_ids": threads})
            if removed < CHECKPOINTS:
                await connection.execute(_SQL["mark_checkpoints"], {"run_ids": list(runs)})
        self.removed.update(checkpoints=removed)
        return bool(runs)

    async def remove_runs(self, before: datetime) -> bool:
        """Remove the rows of some runs that ended before and have no events; return whether there was anything."""
        async with self.pool.connection() as connection, connection.transaction():
            runs = await _take(connection, "find_runs", before, BATCH)
            gone = await connection.execute(_SQL["delete_runs"], {"run_ids": list(runs)})
        self.removed.update(runs=gone.rowcount)
        return gone.rowcount > 0


async def prune_checkpoints(
    connection: AsyncConnection[Any],
    thread_ids: Sequence[UUID],
    *,
    keep: int = 1,
    ends: bool = False,
    before: datetime | None = None,
    most: int | None = None,
) -> int:
    """Remove all but the newest `keep` checkpoints, those at the `ends` of runs, and those since `before`.

    At `most` so many go; how many went is returned.

    Runs in the transaction that has taken the heads of these threads, none of which has a run in flight.
    """
    young_id = first_checkpoint_id(before) if before else None
    limits = {"keep": keep, "ends": ends, "before": before, "young_id": young_id, "most": most}
    cursor = await connection.execute(_RETENTION["prune_checkpoints"], {"thread_ids": thread_ids, **limits})
    (removed,) = await cursor.fetchone() or (0,)
    if removed:
        names = [str(thread_id) for thread_id in thread_ids]
        await connection.execute(_SAVER["delete_orphaned_blobs"], {"thread_id": names})
        await connection.execute(_EFFECTS["forget_pruned"], {"thread_ids": thread_ids})
    return int(removed)


def first_checkpoint_id(since: datetime) -> str:
    """Return what the ids of checkpoints made since then are not below: as UUIDs of form 6 they begin with the time."""
    ticks = (since - _EPOCH) // timedelta(microseconds=1) * 10 + _UUID_EPOCH
    return f"{ticks >> 28:08x}-{ticks >> 12 & 0xFFFF:04x}-6{ticks & 0xFFF:03x}-"


async def _take(
    connection: AsyncConnection[Any], statement: str, before: datetime, batch: int, *, at_rest: bool = False
) -> dict[UUID, UUID]:
    """Find runs, take their threads' heads, and return those whose head could be had, each with its thread."""
    cursor = await connection.execute(_SQL[statement], {"before": before, "batch": batch})
    found: dict[UUID, UUID] = dict(await cursor.fetchall())
    cursor = await connection.execute(_SQL["take_heads"], {"thread_ids": list(set(found.values()))})
    taken = {thread_id for thread_id, inflight in await cursor.fetchall() if inflight == 0 or not at_rest}
    return {run_id: thread_id for run_id, thread_id in found.items() if thread_id in taken}
