"""Owns one reader's place in a thread's log, and the memory of rows committed a moment ago. No database here."""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from uuid import UUID

from threadline.runs.errors import CursorTrimmed, ThreadGone
from threadline.runs.model import LogRow

LAG_BYTES = 1024 * 1024  # a reader that is this far behind loses its buffer and pages from the database
RECENT_THREADS = 4096
RECENT_BYTES = 64 * 1024  # per thread: enough for a short run's whole log
RECENT_TOTAL = 64 * 1024 * 1024  # bytes of all of them: a few threads with large states take no more than many small
_SMALL = 1024  # bytes


class Subscription:
    """One reader's place in a thread's log. Made by `Tails.follow`, which also sets `on_behind` to be woken."""

    def __init__(self, thread_id: UUID, cursor: int, on_behind: asyncio.Event) -> None:
        self.thread_id = thread_id
        self.cursor = cursor  # the last number that is in the buffer or was handed out
        self.behind = False
        self._rows: deque[LogRow] = deque()
        self._bytes = 0
        self._lagging = False
        self._gone = False
        self._failure: Exception | None = None
        self._trimmed_seq: int | None = None
        self._news = asyncio.Event()
        self._on_behind = on_behind

    async def next_rows(self, patience: float) -> list[LogRow]:
        """Return the rows that follow, at least one, or none if none came within `patience` seconds.

        A row may begin at or before the cursor the subscription was opened with: use `LogRow.events(after)`.
        Raises ThreadGone when the thread was deleted, CursorTrimmed when what follows is no longer kept, and Unreadable
        when it cannot be opened.
        """
        if not self._rows and self._is_open:
            self._news.clear()
            if self._lagging:
                self._lagging = False
                self.fall_behind()
            try:
                async with asyncio.timeout(patience):
                    await self._news.wait()
            except TimeoutError:
                return []
        if not self._rows and self._failure is not None:
            raise self._failure
        if not self._rows and self._gone:
            raise ThreadGone(self.thread_id)
        if not self._rows and self._trimmed_seq is not None:
            raise CursorTrimmed(self.cursor, self._trimmed_seq)
        rows = list(self._rows)
        self._rows.clear()
        self._bytes = 0
        return rows

    def offer(self, row: LogRow) -> None:
        """Take a committed row if it continues the cursor; otherwise remember that something is missing."""
        if row.last_seq <= self.cursor or self._lagging:
            return
        if row.first_seq > self.cursor + 1:
            self.fall_behind()
            return
        if self._rows and self._bytes + len(row.payload) > LAG_BYTES:
            self._lagging = True
            return
        self._rows.append(row)
        self._bytes += len(row.payload)
        self.cursor = row.last_seq
        self._news.set()

    def fall_behind(self) -> None:
        """Have the database read for this reader."""
        self.behind = True
        self._on_behind.set()

    def start_over(self) -> None:
        """Go back to the beginning of the log."""
        self._rows.clear()
        self._bytes = 0
        self.cursor = 0

    def end(self) -> None:
        """The thread is gone."""
        self._gone = True
        self._news.set()

    def fail(self, error: Exception) -> None:
        """What follows cannot be read."""
        self._failure = error
        self._news.set()

    def trim(self, trimmed_seq: int) -> None:
        """What follows the cursor was removed: the log begins behind that number now."""
        self._trimmed_seq = trimmed_seq
        self._news.set()

    @property
    def wants_more(self) -> bool:
        """False while the reader has to catch up with what it already holds."""
        return not self._lagging and self._is_open

    @property
    def _is_open(self) -> bool:
        return not self._gone and self._trimmed_seq is None and self._failure is None


class EndSubscription(Subscription):
    """A reader that waits for one run's end only: it is not woken for, and does not keep, what comes before."""

    def __init__(self, thread_id: UUID, run_id: UUID, cursor: int, on_behind: asyncio.Event) -> None:
        super().__init__(thread_id, cursor, on_behind)
        self._run_id = run_id

    def offer(self, row: LogRow) -> None:
        """Take the row that ends the run; of others remember only that they were seen."""
        if row.last_seq > self.cursor >= row.first_seq - 1 and not row.ends(self._run_id):
            self.cursor = row.last_seq
        else:
            super().offer(row)


class Newcomer(Subscription):
    """A reader of a thread that may not exist yet: it reads nothing, and hears of whatever happens there."""

    def __init__(self, thread_id: UUID, on_behind: asyncio.Event) -> None:
        super().__init__(thread_id, 0, on_behind)
        self.heard = asyncio.Event()

    def offer(self, row: LogRow) -> None:
        """Hear of it."""
        self.heard.set()

    def fall_behind(self) -> None:
        """Hear that there may be something."""
        self.heard.set()

    @property
    def wants_more(self) -> bool:
        """Nobody reads the database for a thread that is not there."""
        return False


@dataclass(slots=True)
class _Recent:
    rows: deque[LogRow]
    size: int = 0  # bytes of payload


class RecentRows:
    """The last rows this process committed, per thread, so that a stream opened a moment later needs no read."""

    def __init__(self) -> None:
        self._threads: OrderedDict[UUID, _Recent] = OrderedDict()
        self._bytes = 0

    def add(self, row: LogRow) -> None:
        """Remember a committed row; one that does not continue the others starts anew."""
        recent = self._threads.get(row.thread_id)
        if recent is None or recent.rows[-1].last_seq + 1 != row.first_seq:
            self.forget(row.thread_id)
            recent = self._threads[row.thread_id] = _Recent(deque())
        if len(row.contents) == 1 and len(row.payload) > _SMALL:
            # orjson's own text, in a buffer of many times its length: what is remembered must not keep that.
            row = replace(row, payload=memoryview(row.payload).tobytes())
        recent.rows.append(row)
        recent.size += len(row.payload)
        self._bytes += len(row.payload)
        while recent.size > RECENT_BYTES and len(recent.rows) > 1:
            size = len(recent.rows.popleft().payload)
            recent.size -= size
            self._bytes -= size
        self._threads.move_to_end(row.thread_id)
        while len(self._threads) > RECENT_THREADS or (self._bytes > RECENT_TOTAL and len(self._threads) > 1):
            self.forget(next(iter(self._threads)))

    def forget(self, thread_id: UUID) -> None:
        """Somebody else has written to the thread."""
        if (recent := self._threads.pop(thread_id, None)) is not None:
            self._bytes -= recent.size

    def after(self, thread_id: UUID, cursor: int) -> list[LogRow] | None:
        """Return the rows that continue `cursor`, or None if memory cannot tell."""
        recent = self._threads.get(thread_id)
        if recent is None or not recent.rows[0].first_seq <= cursor + 1 <= recent.rows[-1].last_seq + 1:
            return None
        return [row for row in recent.rows if row.last_seq > cursor]
