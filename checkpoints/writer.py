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
from uuid import UUID, uuid4

from psycopg import AsyncConnection, Error
from psycopg.rows import TupleRow

from threadline.checkpoints.batch import Share, bind, gather, make_share
from threadline.checkpoints.buffer import BULK_BYTES, CancelRequested, Fence, RunBuffer
from threadline.checkpoints.pool import Database
from threadline.checkpoints.statements import load_statements

logger = logging.getLogger("threadline.writer")

MAX_BYTES = 4 * 1024 * 1024
MAX_ROWS = 2_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds between attempts while the database cannot take the batch
_SQL = load_statements("threadline.checkpoints", "flush.sql")

# The statement may succeed if it is repeated as it is: conflicts, lock waits, shutdowns, lost connections,
# a full disk, too many connections, a standby that is being promoted.
_REPEATABLE_CLASSES = ("40", "08", "57", "53", "58")
_REPEATABLE_STATES = ("25006",)
_LOCK_TIMEOUT = "55P03"


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
        self._database = database
        self._name = name
        self._on_commit = on_commit
        self._linger = linger
        self._connection: AsyncConnection[TupleRow] | None = None
        self._writer_id = uuid4()
        self._batch = 0
        self._dirty: dict[RunBuffer, None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.bulk_lane: Lane | None = None  # None: this is it

    def mark(self, buffer: RunBuffer) -> None:
        """Note that `buffer` has something to take."""
        self._dirty[buffer] = None
        self._idle.clear()
        self._wake.set()

    async def drain(self) -> None:
        """Wait until everything that was ready is committed or refused."""
        await self._idle.wait()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def run(self) -> None:
        """Commit for ever; cancelling it between batches loses nothing that was acknowledged."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while shares := self._collect():
                await self._commit(shares)
                self._send_home(shares)
            if not self._dirty:
                self._idle.set()

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

    async def _commit(self, shares: Sequence[Share]) -> None:
        """Write `shares`, whatever it takes; content the database refuses fails its own entries only."""
        pause = _FIRST_PAUSE
        doubtful = False
        while True:
            try:
                answers = await self._attempt(shares, doubtful)
                break
            except (Error, OSError) as error:
                doubtful = self._connection is None or self._connection.broken
                state = getattr(error, "sqlstate", None)
                if not doubtful and state is not None and not _is_repeatable(state):
                    await self._isolate(shares, error)
                    return
                logger.warning("writer.retry", extra={"lane": self._name, "sqlstate": state, "error": str(error)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        await self._settle(shares, answers)

    async def _attempt(self, shares: Sequence[Share], doubtful: bool) -> dict[int, _Answer]:
        """Send the batch once, or find out that it was committed although its answer got lost."""
        connection = await self._connect()
        if doubtful and await self._was_committed(connection):
            return await self._reconstruct(connection, shares)
        cursor = await connection.execute(
            _SQL["flush"],
            {
                "writer_id": self._writer_id,
                "batch": self._batch + 1,
                "linger": self._linger,
                **bind(shares),
            },
        )
        answers = {row[0]: _Answer(row[2], row[3]) for row in await cursor.fetchall()}
        self._batch += 1
        return answers

    async def _was_committed(self, connection: AsyncConnection[TupleRow]) -> bool:
        cursor = await connection.execute(_SQL["read_batch"], {"writer_id": self._writer_id})
        row = await cursor.fetchone()
        return row is not None and row[0] == self._batch + 1

    async def _reconstruct(self, connection: AsyncConnection[TupleRow], shares: Sequence[Share]) -> dict[int, _Answer]:
        """The batch was committed: find out which of its runs were in it and which refused."""
        self._batch += 1
        rows = await _read_fences(connection, shares)
        return {
            ord_: _Answer(last_seq, inflight, known=False)
            for ord_, held, _, ended, last_seq, inflight in rows
            if (ended if shares[ord_ - 1].finish else held)
        }

    async def _connect(self) -> AsyncConnection[TupleRow]:
        if self._connection is not None and not self._connection.broken:
            return self._connection
        if self._connection is not None:
            await self._connection.close()
        connection = await self._database.connect(f"writer/{self._name}")
        if not self._database.pooler:
            connection.prepare_threshold = 0
            await connection.execute(_SQL["use_generic_plan"])
        await connection.execute(_SQL["register_writer"], {"writer_id": self._writer_id, "batch": self._batch})
        self._connection = connection
        return connection

    async def _forget_connection(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _isolate(self, shares: Sequence[Share], error: Error | OSError) -> None:
        """The database refused something in the batch: narrow it down to the run, then to the entry."""
        if len(shares) > 1:
            for share in shares:
                await self._commit([share])
            return
        share = shares[0]
        if getattr(error, "sqlstate", None) == _LOCK_TIMEOUT:
            self._postpone(share)
        elif len(share.entries) > 1:
            for entry in share.entries:
                await self._commit([make_share(share.buffer, [entry])])
        else:
            logger.error("writer.refused", extra={"run_id": str(share.buffer.fence.run_id), "error": str(error)})
            share.entries[0].settle(error)

    def _postpone(self, share: Share) -> None:
        """Somebody holds the thread's head for long: wait for it where only large entries wait too."""
        share.buffer.put_back(share.entries)
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
        while True:
            try:
                rows = await _read_fences(await self._connect(), shares)
                break
            except (Error, OSError) as error:
                logger.warning("writer.retry", extra={"lane": self._name, "error": str(error)})
                await asyncio.sleep(_FIRST_PAUSE)
        for ord_, held, cancelled, *_ in rows:
            share = shares[ord_ - 1]
            if held and cancelled and share.finish is not None:
                share.buffer.put_back(share.entries[:-1])
                share.entries[-1].settle(CancelRequested(f"run {share.buffer.fence.run_id} was cancelled"))
            elif held:
                # Nothing was wrong with the run: our row in `writers` was gone.
                share.buffer.put_back(share.entries)
                await self._forget_connection()
            else:
                share.buffer.fence_out(share.entries)


def _is_repeatable(state: str) -> bool:
    return state[:2] in _REPEATABLE_CLASSES or state in _REPEATABLE_STATES


async def _read_fences(connection: AsyncConnection[TupleRow], shares: Sequence[Share]) -> list[TupleRow]:
    fences = [share.buffer.fence for share in shares]
    cursor = await connection.execute(
        _SQL["read_fences"],
        {
            "thread_id": [fence.thread_id for fence in fences],
            "run_id": [fence.run_id for fence in fences],
            "epoch": [fence.epoch for fence in fences],
        },
    )
    return await cursor.fetchall()


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
    async def running(self) -> AsyncIterator["GroupWriter"]:
        """Commit in the background for the length of the block; on the way out, drain and stop."""
        tasks = [
            asyncio.create_task(lane.run(), name=f"writer/{name}")
            for name, lane in (("fast", self._fast), ("bulk", self._bulk))
        ]
        drain = None
        try:
            yield self
            drain = asyncio.create_task(self.drain(), name="writer/drain")
            await asyncio.wait([drain, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, *([drain] if drain else [])):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._fast.close()
            await self._bulk.close()
        for result in results:
            if isinstance(result, Exception):
                raise result
