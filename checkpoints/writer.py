"""Owns the group commit: one statement and one commit for whatever the runs of this process have pending.

While a batch commits, the next one collects itself; there is no timer. What the statement promises is said in
`flush.sql`; what a run has pending is `buffer.py`'s.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from psycopg import Error
from psycopg.rows import TupleRow

from threadline.checkpoints.batch import Share, bind, gather, make_share
from threadline.checkpoints.buffer import BULK_BYTES, CancelRequested, Fence, RunBuffer
from threadline.checkpoints.journal import FIRST_PAUSE, LOCK_TIMEOUT, LONGEST_PAUSE, Journal, may_repeat
from threadline.checkpoints.pool import Database
from threadline.checkpoints.sealed_batch import seal_batch
from threadline.checkpoints.statements import load_statements, make_positional
from threadline.checkpoints.vault import VaultError

logger = logging.getLogger("threadline.writer")

MAX_BYTES = 4 * 1024 * 1024
MAX_ROWS = 2_000
COMPANY_TURNS = 8  # of the event loop: at most some milliseconds where it is busy, microseconds where it is not
DRAIN_SECONDS = 5.0  # at the end of the process; what is not committed then was never acknowledged
_SQL = load_statements("threadline.checkpoints", "flush.sql")
_FLUSH = make_positional(_SQL["flush"])


class Committed(NamedTuple):
    """A run's events as they were committed; `payload` None means: read them from the database."""

    thread_id: UUID
    run_id: UUID
    first_seq: int
    last_seq: int
    contents: list[tuple[str, int, int]]
    payload: bytes | None
    finished: bool
    inflight: int


OnCommit = Callable[[list[Committed]], None]


@dataclass(frozen=True, slots=True)
class _Answer:
    last_seq: int
    inflight: int
    known: bool = True


class Lane:
    """One connection that commits batches one after the other."""

    def __init__(self, database: Database, name: str, on_commit: OnCommit, linger: timedelta) -> None:
        self._journal = Journal(database, f"writer/{name}")
        self._vault = database.vault
        self._name = name
        self._on_commit = on_commit
        self._linger = linger
        self._dirty: dict[RunBuffer, None] = {}
        self._marks = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.bulk_lane: Lane | None = None  # None: this is it

    def mark(self, buffer: RunBuffer) -> None:
        """Note that `buffer` has something to take."""
        self._dirty[buffer] = None
        self._marks += 1
        self._idle.clear()
        self._wake.set()

    async def drain(self) -> None:
        """Wait until everything that was ready is committed or refused."""
        await self._idle.wait()

    async def close(self) -> None:
        """Close the connection."""
        await self._journal.close()

    async def run(self) -> None:
        """Commit for ever; cancelling it between batches loses nothing that was acknowledged."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._gather_company()
            while shares := self._collect():
                await self._commit(shares)
                self._send_home(shares)
                await self._gather_company()
            if not self._dirty:
                self._idle.set()

    async def _gather_company(self) -> None:
        """Whoever is ready to write, too, travels with this batch: wait while turns of the loop bring more.

        A lone run waits for one turn that brings nothing; many at once fill a batch rather than pay for several.
        """
        for _ in range(COMPANY_TURNS):
            marks = self._marks
            await asyncio.sleep(0)
            if self._marks == marks:
                return

    def _collect(self) -> list[Share]:
        self._sort_lanes()
        shares = gather(list(self._dirty), MAX_BYTES, MAX_ROWS)
        for buffer in list(self._dirty):
            if buffer.next_size < 0:
                del self._dirty[buffer]
        return shares

    def _sort_lanes(self) -> None:
        """Hand buffers with a large entry to the bulk lane, where they stay until they are drained."""
        if self.bulk_lane is None:
            return
        for buffer in [buffer for buffer in self._dirty if buffer.next_size > BULK_BYTES]:
            del self._dirty[buffer]
            buffer.bulk = True
            self.bulk_lane.mark(buffer)

    def _send_home(self, shares: Sequence[Share]) -> None:
        """A buffer the bulk lane has drained travels with the others again."""
        if self.bulk_lane is None:
            for share in shares:
                if share.buffer.next_size < 0:
                    share.buffer.bulk = False

    async def _commit(self, shares: Sequence[Share]) -> bool:
        """Write `shares`, whatever it takes; content the database refuses fails its own entries only.

        False: somebody holds the thread's head, and entries went back to their buffer.
        """
        pause = FIRST_PAUSE
        parameters = {"linger": self._linger, **bind(shares)}
        try:
            await seal_batch(self._vault, shares, parameters)
        except VaultError as error:
            return await self._isolate(shares, error)
        while True:
            try:
                rows = await self._journal.execute(_FLUSH, parameters)
                if rows is None:
                    answers = await self._reconstruct(shares)
                else:
                    answers = {row[0]: _Answer(row[2], row[3]) for row in rows if row[0]}
                break
            except (Error, OSError, UnicodeError) as error:
                if not may_repeat(error):
                    return await self._isolate(shares, error)
                logger.warning("writer.retry", extra={"lane": self._name, "error": repr(error)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        await self._settle(shares, answers)
        return True

    async def _reconstruct(self, shares: Sequence[Share]) -> dict[int, _Answer]:
        """The batch was committed and its answer lost: find out which runs were in it and which refused."""
        return {
            ord_: _Answer(last_seq, inflight, known=False)
            for ord_, held, _, ended, last_seq, inflight in await self._read_fences(shares)
            if (ended if shares[ord_ - 1].finish else held)
        }

    async def _isolate(self, shares: Sequence[Share], error: Exception) -> bool:
        """The database refused something in the batch: narrow it down to the run, then to the entry."""
        if len(shares) > 1:
            for share in shares:
                await self._commit([share])
            return True
        share = shares[0]
        if getattr(error, "sqlstate", None) == LOCK_TIMEOUT:
            self._postpone(share)
            return False
        if len(share.entries) == 1:
            logger.error("writer.refused", extra={"run_id": str(share.buffer.fence.run_id), "error": str(error)})
            share.entries[0].settle(error)
            return True
        for position, entry in enumerate(share.entries, 1):
            if entry.follows_refused():
                continue
            if not await self._commit([make_share(share.buffer, [entry], share.entries[position:])]):
                return False
        return True

    def _postpone(self, share: Share) -> None:
        """Somebody holds the thread's head for long: wait for it where only large entries wait too."""
        share.buffer.put_back([*share.entries, *share.behind])
        if self.bulk_lane is not None:
            self._dirty.pop(share.buffer, None)
            share.buffer.bulk = True
            self.bulk_lane.mark(share.buffer)

    async def _settle(self, shares: Sequence[Share], answers: dict[int, _Answer]) -> None:
        refused = [share for ord_, share in enumerate(shares, 1) if ord_ not in answers]
        committed = []
        for ord_, share in enumerate(shares, 1):
            if answer := answers.get(ord_):
                committed.append(_describe(share, answer))
                for entry in share.entries:
                    entry.settle(None)
        if committed:
            self._on_commit(committed)
        if refused:
            await self._refuse(refused)

    async def _refuse(self, shares: Sequence[Share]) -> None:
        """Tell apart a lost fence and a finish that met a cancel request."""
        for ord_, held, cancelled, *_ in await self._read_fences(shares):
            share = shares[ord_ - 1]
            if held and cancelled and share.finish is not None:
                share.buffer.put_back(share.entries[:-1])
                share.entries[-1].settle(CancelRequested(f"run {share.buffer.fence.run_id} was cancelled"))
            elif held:
                # Nothing was wrong with the run: our row in `writers` was gone.
                share.buffer.put_back(share.entries)
                await self._journal.close()
            else:
                share.buffer.fence_out(share.entries)

    async def _read_fences(self, shares: Sequence[Share]) -> list[TupleRow]:
        fences = [share.buffer.fence for share in shares]
        parameters = {
            "thread_id": [fence.thread_id for fence in fences],
            "run_id": [fence.run_id for fence in fences],
            "epoch": [fence.epoch for fence in fences],
        }
        while True:
            try:
                connection = await self._journal.connect()
                cursor = await connection.execute(_SQL["read_fences"], parameters)
                return await cursor.fetchall()
            except (Error, OSError) as error:
                logger.warning("writer.retry", extra={"lane": self._name, "error": repr(error)})
                await asyncio.sleep(FIRST_PAUSE)


def _describe(share: Share, answer: _Answer) -> Committed:
    fence = share.buffer.fence
    return Committed(
        fence.thread_id,
        fence.run_id,
        answer.last_seq - len(share.contents) + 1,
        answer.last_seq,
        share.contents,
        share.payload if answer.known else None,
        share.finish is not None,
        answer.inflight,
    )


class GroupWriter:
    """The process's writer: a lane for everything and one for what is too large to travel with others."""

    def __init__(self, database: Database, on_commit: OnCommit, *, linger: timedelta) -> None:
        """`linger` is how long the thread of a finished stateless run is kept for its waiters."""
        self._fast = Lane(database, "fast", on_commit, linger)
        self._bulk = Lane(database, "bulk", on_commit, linger)
        self._fast.bulk_lane = self._bulk

    def open_buffer(self, fence: Fence, on_fenced_out: Callable[[], None]) -> RunBuffer:
        """Return the buffer through which the run that holds `fence` writes."""
        return RunBuffer(fence, self._mark, on_fenced_out)

    def _mark(self, buffer: RunBuffer) -> None:
        (self._bulk if buffer.bulk else self._fast).mark(buffer)

    async def drain(self) -> None:
        """Wait until everything that was ready is committed or refused."""
        await self._fast.drain()
        await self._bulk.drain()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Commit in the background for the length of the block; yields the tasks. On the way out, drain and stop."""
        tasks = [
            asyncio.create_task(lane.run(), name=f"writer/{name}")
            for name, lane in (("fast", self._fast), ("bulk", self._bulk))
        ]
        try:
            yield tasks
            drain = asyncio.create_task(self.drain(), name="writer/drain")
            await asyncio.wait([drain, *tasks], return_when=asyncio.FIRST_COMPLETED, timeout=DRAIN_SECONDS)
            drain.cancel()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._fast.close()
            await self._bulk.close()
