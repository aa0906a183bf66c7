"""Owns the streams' view of the event log: what follows a cursor, from memory when it continues it, else from Postgres.

A stream never talks to a worker. Memory hands over committed rows only, and only to a cursor that they continue;
at a hole, after a hint from another process, and at every poll the database is read.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from psycopg import Error
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import VaultError, vault_of
from threadline.runs.errors import CursorTrimmed, ThreadGone, ThreadNotFound, Unreadable
from threadline.runs.model import RUN_ENDED, LogRow, Run
from threadline.runs.sealed_rows import open_log
from threadline.runs.subscription import EndSubscription, Newcomer, RecentRows, Subscription

logger = logging.getLogger("threadline.tails")

S = TypeVar("S", bound=Subscription)

PAGE_ROWS = 256  # rows one read takes per stream
READ_STREAMS = 256  # that one read serves
READ_BYTES = 16 * 1024 * 1024  # that one read takes for all of them, but for each stream's last row
_SQL = load_statements("threadline.runs", "log.sql")


class Tails:
    """All open streams of this process, fed by its own commits, by hints and by polling."""

    def __init__(self, pool: Pool, poll: timedelta) -> None:
        self._pool = pool
        self._poll = poll.total_seconds()
        self._subscriptions: dict[UUID, set[Subscription]] = {}
        self._recent = RecentRows()
        self._behind = asyncio.Event()

    @asynccontextmanager
    async def follow(self, thread_id: UUID, after: int) -> AsyncIterator[Subscription]:
        """Follow a thread's log behind number `after`; a cursor beyond the log's end starts from its beginning.

        Raises ThreadNotFound, and CursorTrimmed when events behind `after` are no longer kept.
        """
        async with self._subscribe(Subscription(thread_id, after, self._behind)) as subscription:
            yield subscription

    @asynccontextmanager
    async def _subscribe(self, subscription: S) -> AsyncIterator[S]:
        with self._listed(subscription):
            await self._catch_up(subscription)
            yield subscription

    @contextmanager
    def _listed(self, subscription: Subscription) -> Iterator[None]:
        thread_id = subscription.thread_id
        self._subscriptions.setdefault(thread_id, set()).add(subscription)
        try:
            yield
        finally:
            others = self._subscriptions[thread_id]
            others.discard(subscription)
            if not others:
                del self._subscriptions[thread_id]

    async def expect(self, thread_id: UUID, patience: float) -> None:
        """Return when something is heard of a thread, which need not exist yet, or after `patience` seconds."""
        newcomer = Newcomer(thread_id, self._behind)
        with self._listed(newcomer), suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await newcomer.heard.wait()

    async def last_seq(self, thread_id: UUID) -> int:
        """Return the number of the thread's newest event. Raises ThreadNotFound."""
        return (await self._read_head(thread_id))[1]

    async def result(self, run: Run) -> bytes | None:
        """Wait for the run's end and return the JSON text that `runs/wait` answers with.

        None when the run, or its thread, was deleted meanwhile and left no end.
        """
        if run.status.is_final:
            return await self._read_end(run)
        end = EndSubscription(run.thread_id, run.run_id, run.start_seq, self._behind)
        try:
            async with self._subscribe(end) as subscription:
                while True:
                    for row in await subscription.next_rows(60.0):
                        if row.ends(run.run_id):
                            return row.payload[len(row.payload) - row.contents[-1][1] :]
        except (ThreadGone, ThreadNotFound):
            return None
        except CursorTrimmed:
            return await self._read_end(run)

    def publish(self, rows: Iterable[LogRow]) -> None:
        """Hand committed rows to the streams that they continue."""
        for row in rows:
            self._recent.add(row)
            for subscription in self._subscriptions.get(row.thread_id, ()):
                subscription.offer(row)

    def hint(self, thread_ids: Iterable[UUID]) -> None:
        """Something may have been committed on these threads: read them soon."""
        for thread_id in thread_ids:
            self._recent.forget(thread_id)
            for subscription in self._subscriptions.get(thread_id, ()):
                subscription.fall_behind()

    def look_at_everything(self) -> None:
        """Hints may have been missed: read the tails of all open streams."""
        self.hint(list(self._subscriptions))

    async def run(self) -> None:
        """Read for streams that are behind, at once; and for all of them at every poll."""
        now = asyncio.get_running_loop().time
        due = now() + self._poll
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._behind.wait()
            if now() >= due:
                # Also while hints never rest: who lost one is found by the poll alone.
                self._mark_all()
                due = now() + self._poll
            self._behind.clear()
            waiting = self._collect_behind()
            if not waiting:
                continue
            try:
                for start in range(0, len(waiting), READ_STREAMS):
                    await self._read(waiting[start : start + READ_STREAMS])
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("tails.retry", extra={"error": repr(error)})
                await asyncio.sleep(min(self._poll, 0.2))
                for subscription in waiting:
                    subscription.fall_behind()

    def _mark_all(self) -> None:
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.behind = True

    def _collect_behind(self) -> list[Subscription]:
        waiting = [
            subscription
            for subscriptions in self._subscriptions.values()
            for subscription in subscriptions
            if subscription.behind and subscription.wants_more
        ]
        for subscription in waiting:
            subscription.behind = False
        return waiting

    async def _read(self, waiting: Sequence[Subscription]) -> None:
        """One query for all of them; whoever got a full page is asked for again.

        A page is full by its bytes, too: what many slow readers of large events are behind by has no place in memory.
        """
        page_bytes = READ_BYTES // len(waiting)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                _SQL["read_tails"],
                {
                    "thread_id": [subscription.thread_id for subscription in waiting],
                    "cursor": [subscription.cursor for subscription in waiting],
                    "page": PAGE_ROWS,
                    "page_bytes": page_bytes,
                },
                binary=True,
            )
            rows = await cursor.fetchall()
        pages: list[list[LogRow]] = [[] for _ in waiting]
        for ord_, trimmed_seq, first_seq, last_seq, run_id, contents, payload in rows:
            subscription = waiting[ord_ - 1]
            if trimmed_seq is None:
                subscription.end()
            elif subscription.cursor < trimmed_seq:
                subscription.trim(trimmed_seq)
            elif first_seq is not None:
                page = pages[ord_ - 1]
                page.append(LogRow(subscription.thread_id, first_seq, last_seq, run_id, contents, payload))
        for subscription, page in zip(waiting, pages, strict=True):
            await self._hand_over(subscription, page, page_bytes)

    async def _hand_over(self, subscription: Subscription, page: list[LogRow], page_bytes: int) -> None:
        """Give a reader what was read for it; one whose rows cannot be opened hears why, the others go on."""
        try:
            for row in await open_log(vault_of(self._pool), page):
                subscription.offer(row)
        except VaultError as error:
            logger.error("tails.refused", extra={"thread_id": str(subscription.thread_id), "error": str(error)})
            subscription.fail(Unreadable(str(error)))
            return
        if len(page) == PAGE_ROWS or sum(len(row.payload) for row in page) >= page_bytes:
            subscription.fall_behind()

    async def _catch_up(self, subscription: Subscription) -> None:
        rows = self._recent.after(subscription.thread_id, subscription.cursor)
        if rows is not None:
            for row in rows:
                subscription.offer(row)
            return
        asked = subscription.cursor
        trimmed_seq, last_seq = await self._read_head(subscription.thread_id)
        # The cursor itself may have moved on meanwhile, to rows that are newer than what was read.
        if asked > last_seq:
            subscription.start_over()
        if subscription.cursor < trimmed_seq:
            raise CursorTrimmed(subscription.cursor, trimmed_seq)
        if subscription.cursor < last_seq:
            subscription.fall_behind()

    async def _read_head(self, thread_id: UUID) -> tuple[int, int]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["head"], {"thread_id": thread_id})
            row = await cursor.fetchone()
        if row is None:
            raise ThreadNotFound(thread_id)
        return row[0], row[1]

    async def _read_end(self, run: Run) -> bytes | None:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                _SQL["end_of_run"], {"run_id": run.run_id, "thread_id": run.thread_id}, binary=True
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        end_seq, first_seq, last_seq, run_id, contents, payload = row
        read = [LogRow(run.thread_id, first_seq, last_seq, run_id, contents, payload)]
        try:
            (opened,) = await open_log(vault_of(self._pool), read)
        except VaultError as error:
            raise Unreadable(str(error)) from error
        event = next(opened.events(end_seq - 1), None)
        return event.data if event and event.run_id == run.run_id and event.name == RUN_ENDED else None
