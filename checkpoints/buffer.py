"""Owns what one run has not committed yet: rows and events in the order they happened, with their waiters.

The group-commit writer takes entries from the front; nothing here talks to a database.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import time_ns
from typing import NamedTuple
from uuid import UUID

from threadline.checkpoints.vault import sealing_context

SPLIT_BYTES = 256 * 1024  # events that report no write start a new entry beyond this size
BULK_BYTES = 512 * 1024  # an entry this large never travels with others


class Fence(NamedTuple):
    """The right to write to a thread: the head row must name this run and this epoch."""

    thread_id: UUID
    run_id: UUID
    epoch: int


class FencedOut(Exception):
    """The head of the thread names another run or a later epoch; nothing of this run is written any more."""


class CancelRequested(Exception):
    """The run was asked to stop before its end was written; the worker has to carry that out first."""


class CheckpointRow(NamedTuple):
    """One row for `checkpoints`; `checkpoint` and `metadata` are JSON text.

    `apart` is JSON text of the values that lie in the checkpoint and are to be sealed first; None: there they are.
    """

    ns: str
    id: str
    parent: str | None
    checkpoint: str
    metadata: str
    apart: str | None = None


class BlobRow(NamedTuple):
    """One row for `checkpoint_blobs`."""

    ns: str
    channel: str
    version: str
    type: str
    blob: bytes | None


class WriteRow(NamedTuple):
    """One row for `checkpoint_writes`; `overwrite` is the official saver's rule for its special channels."""

    ns: str
    id: str
    task: str
    path: str
    idx: int
    channel: str
    type: str
    blob: bytes
    overwrite: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a run. `values`, `interrupts` and `error` are JSON text; `values` or `config` None keeps the
    thread's.

    `cancel_known` says that the worker has seen the cancel request the head may carry.
    """

    status: str
    thread_status: str
    values: str | None
    interrupts: str
    error: str | None
    config: str | None = None
    cancel_known: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """What is committed together or not at all. An entry that is not `ready` holds back those behind it."""

    ready: bool = True
    checkpoints: list[CheckpointRow] = field(default_factory=list)
    blobs: list[BlobRow] = field(default_factory=list)
    writes: list[WriteRow] = field(default_factory=list)
    # (ns, id) of earlier runs' checkpoints that the writes are the first of this run to go to
    bases: list[tuple[str, str]] = field(default_factory=list)
    events: list[tuple[str, bytes, int]] = field(default_factory=list)
    finish: Finish | None = None
    after: "Entry | None" = None  # when the database refuses that one, this one is refused with it
    size: int = 0  # bytes, about
    rows: int = 1
    waiter: asyncio.Future[None] | None = None
    settled: bool = False
    error: Exception | None = None

    def add_event(self, name: str, data: bytes) -> None:
        self.events.append((name, data, time_ns() // 1000))
        self.size += len(data) + 32

    def add_rows(
        self,
        checkpoints: list[CheckpointRow],
        blobs: list[BlobRow],
        writes: list[WriteRow],
    ) -> None:
        self.checkpoints += checkpoints
        self.blobs += blobs
        self.writes += writes
        self.rows += len(checkpoints) + len(blobs) + len(writes)
        for checkpoint in checkpoints:
            self.size += len(checkpoint.checkpoint) + len(checkpoint.metadata) + len(checkpoint.apart or "")
        for blob in blobs:
            self.size += len(blob.blob or b"")
        for write in writes:
            self.size += len(write.blob)

    def follows_refused(self) -> bool:
        """Settle the entry if the one it builds on was refused, and tell whether it did."""
        if self.after is None or self.after.error is None:
            return False
        self.settle(self.after.error)
        return True

    def settle(self, error: Exception | None) -> None:
        """Tell the waiter, also one that comes later, that the entry is committed or why it never will be."""
        self.settled, self.error = True, error
        self.after = None  # or the first entry of a run would live as long as the last
        if self.waiter is not None and not self.waiter.done():
            if error is None:
                self.waiter.set_result(None)
            else:
                self.waiter.set_exception(error)
                self.waiter.exception()  # marks it retrieved: a waiter cancelled meanwhile asks no more


class RunBuffer:
    """The uncommitted entries of one run, first in first out.

    `on_dirty` is called when there is something to take; `on_fenced_out` once, when the database refused a
    write, so that the worker can stop the run from outside.
    """

    def __init__(
        self,
        fence: Fence,
        on_dirty: Callable[["RunBuffer"], None],
        on_fenced_out: Callable[[], None],
    ) -> None:
        self.fence = fence
        self.context = sealing_context()  # in which what it holds is sealed, wherever that happens
        self.bulk = False
        self.shares = 0  # how many sealed chunks of events there were
        self.pending_bytes = 0
        self._entries: deque[Entry] = deque()
        self._on_dirty = on_dirty
        self._on_fenced_out = on_fenced_out
        self._fenced_out: FencedOut | None = None
        self._end: Entry | None = None
        self._newest: Entry | None = None

    def add_event(self, name: str, data: bytes, *, bound: bool = False) -> None:
        """Append an event. A `bound` one reports the rows appended last and is committed with them.

        Nothing comes behind the end of a run: what a task that would not stop still emits is left out.
        """
        if self._fenced_out is not None or self._has_ended:
            return
        last = self._entries[-1] if self._entries else None
        if last is None or not (last.ready or bound) or (last.size > SPLIT_BYTES and not bound) or last.finish:
            last = self._newest = Entry()
            self._entries.append(last)
        last.add_event(name, data)
        self.pending_bytes += len(data) + 32
        self._on_dirty(self)

    def add(self, entry: Entry, *, before: Entry | None = None) -> Entry:
        """Append an entry of its own, or put it before a held one; what is not ready holds back what comes after.

        Raises FencedOut also behind the end of the run, unless that was refused.
        """
        if self._fenced_out is not None:
            raise self._fenced_out
        if self._has_ended:
            raise FencedOut(f"run {self.fence.run_id} has ended")
        if entry.finish is not None:
            self._end = entry
            self._drop_held()
        if before is None:
            self._newest = entry
        self._entries.insert(len(self._entries) if before is None else self._entries.index(before), entry)
        self.pending_bytes += entry.size
        self._on_dirty(self)
        return entry

    @property
    def _has_ended(self) -> bool:
        return self._end is not None and self._end.error is None

    def _drop_held(self) -> None:
        """What would still be waited for does not come any more; it must not hold back the end."""
        for entry in [entry for entry in self._entries if not entry.ready]:
            self._entries.remove(entry)
            self.pending_bytes -= entry.size
            entry.settle(FencedOut(f"run {self.fence.run_id} has ended"))

    def release(self, entry: Entry, added_bytes: int = 0) -> None:
        """Make a held entry ready, now that what it reports has been added to it."""
        entry.ready = True
        self.pending_bytes += added_bytes
        self._on_dirty(self)

    def drop_events(self, entry: Entry) -> None:
        """Forget the events of a held entry: what they report was not written and never will be."""
        if self._fenced_out is not None:
            return
        self.pending_bytes -= entry.size
        entry.events.clear()
        entry.size = 0
        self.release(entry)

    async def drained(self) -> None:
        """Wait until everything that was added is committed or refused."""
        if self._newest is not None:
            with suppress(Exception):  # why it was refused is told to whoever waits for it
                await self.committed(self._newest)

    async def committed(self, entry: Entry) -> None:
        """Wait until `entry` is committed.

        Raises FencedOut or CancelRequested, or the database's error when it refused the entry's content.
        """
        if entry.settled:
            # LangGraph awaits a write late where `max_concurrency` keeps its tasks waiting.
            if entry.error is not None:
                raise entry.error
            return
        if self._fenced_out is not None:
            raise self._fenced_out
        if entry.waiter is None or entry.waiter.cancelled():
            entry.waiter = asyncio.get_running_loop().create_future()
        await entry.waiter

    def take(self, max_bytes: int, max_rows: int) -> tuple[list[Entry], int, int]:
        """Remove and return entries from the front, at least one if one is ready, with their bytes and rows."""
        taken: list[Entry] = []
        entries = self._entries
        size = rows = 0
        while entries and (entry := entries[0]).ready:
            if entry.follows_refused():
                self.pending_bytes -= entries.popleft().size
                continue
            if taken and (size + entry.size > max_bytes or rows + entry.rows > max_rows or entry.size > BULK_BYTES):
                break
            size += entry.size
            rows += entry.rows
            taken.append(entries.popleft())
        self.pending_bytes -= size
        return taken, size, rows

    def put_back(self, entries: list[Entry]) -> None:
        """Return entries that could not be written yet to the front."""
        self._entries.extendleft(reversed(entries))
        self.pending_bytes += sum(entry.size for entry in entries)
        self._on_dirty(self)

    @property
    def next_size(self) -> int:
        """Bytes of the first entry if it is ready, else -1."""
        return self._entries[0].size if self._entries and self._entries[0].ready else -1

    def fence_out(self, taken: list[Entry]) -> None:
        """The database refused a write: fail every waiter and stop the run from outside, once."""
        if self._fenced_out is None:
            self._fenced_out = FencedOut(f"run {self.fence.run_id} no longer owns its thread")
            self._on_fenced_out()
        for entry in (*taken, *self._entries):
            entry.settle(self._fenced_out)
        self._entries.clear()
        self.pending_bytes = 0
