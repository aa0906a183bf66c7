"""Owns runs that exist in the database only, and what tests write for them: by a writer, or in an open transaction."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from langgraph.checkpoint.base.id import uuid6
from psycopg import AsyncConnection, AsyncRawCursor

from threadline.checkpoints import writer
from threadline.checkpoints.arrays import register_arrays
from threadline.checkpoints.batch import bind, make_share
from threadline.checkpoints.buffer import BlobRow, CheckpointRow, Entry, Fence, Finish, RunBuffer, WriteRow
from threadline.checkpoints.pool import Database
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.writer import Committed, GroupWriter
from threadline.runs.identity import uuid7
from threadline.runs.model import RUN_ENDED
from threadline.tests.laboratory.laboratory import Laboratory

LINGER = timedelta(minutes=5)
FLUSH = load_statements("threadline.checkpoints", "flush.sql")
QUEUE = load_statements("threadline.runs", "queue.sql")

_SEED_THREAD = "insert into threads (thread_id) values (%s)"
_SEED_HEAD = "insert into thread_heads (thread_id, run_id, epoch, inflight) values (%s, %s, 1, 1)"
_SEED_RUN = """
    insert into runs (run_id, thread_id, assistant_id, graph_id, status, attempt, process_id)
    values (%s, %s, %s, 'line', 'running', 1, %s)
"""


async def seed_run(lab: Laboratory, process_id: UUID | None = None) -> Fence:
    """Put an active run of that process (of one that never was, by default) on a thread of its own."""
    fence = Fence(uuid7(), uuid7(), 1)
    await lab.rows(_SEED_THREAD, fence.thread_id)
    await lab.rows(_SEED_HEAD, fence.thread_id, fence.run_id)
    await lab.rows(_SEED_RUN, fence.run_id, fence.thread_id, uuid4(), process_id or uuid4())
    return fence


def make_checkpoint(name: str = "", *, metadata: str = "{}") -> Entry:
    """A checkpoint with a value and a pending write, and an event that reports them."""
    checkpoint_id = str(uuid6())
    entry = Entry()
    entry.add_rows(
        [CheckpointRow("", checkpoint_id, None, '{"channel_values": {}}', metadata)],
        [BlobRow("", "log", checkpoint_id, "bytes", name.encode())],
        [WriteRow("", checkpoint_id, str(uuid4()), "", 0, "log", "bytes", name.encode(), False)],
    )
    entry.add_event("values", b'"%b"' % name.encode())
    return entry


def make_write(name: str = "") -> Entry:
    """A pending write and the event that reports it."""
    entry = Entry()
    entry.add_rows([], [], [WriteRow("", str(uuid6()), str(uuid4()), "", 0, "log", "bytes", name.encode(), False)])
    entry.add_event("updates", b'"%b"' % name.encode())
    return entry


def make_event(name: str = "") -> Entry:
    """An event that reports no write."""
    entry = Entry()
    entry.add_event("custom", b'"%b"' % name.encode())
    return entry


def make_finish(name: str = "", *, cancel_known: bool = False) -> Entry:
    """The end of a run."""
    entry = Entry()
    entry.add_event(RUN_ENDED, b'"%b"' % name.encode())
    entry.finish = Finish(
        status="success",
        thread_status="idle",
        values="{}",
        interrupts="{}",
        error=None,
        cancel_known=cancel_known,
    )
    return entry


MAKERS = (make_checkpoint, make_write, make_event, make_finish)


@dataclass
class Bench:
    """A running writer, what it reported as committed, and which runs it stopped."""

    writer: GroupWriter
    commits: list[Committed] = field(default_factory=list)
    stopped: list[UUID] = field(default_factory=list)

    def open(self, fence: Fence) -> RunBuffer:
        return self.writer.open_buffer(fence, lambda: self.stopped.append(fence.run_id))


@asynccontextmanager
async def open_writer(database: Database) -> AsyncIterator[Bench]:
    """Have a writer of one's own for the length of the block."""
    commits: list[Committed] = []
    group = GroupWriter(database, commits.extend, linger=LINGER)
    test = asyncio.current_task()
    assert test is not None
    async with group.running() as lanes:
        for lane in lanes:
            lane.add_done_callback(lambda lane: None if lane.cancelled() else test.cancel())
        try:
            yield Bench(group, commits)
        except asyncio.CancelledError:
            for lane in lanes:
                if lane.done():
                    lane.result()  # a lane that dies takes the test with it, as it would take its process
            raise


async def flush_in(connection: AsyncConnection[Any], fence: Fence, entries: Sequence[Entry]) -> list[Any]:
    """Run the writer's own statement in the transaction that is open on `connection`."""
    writer_id = uuid4()
    register_arrays(connection)
    await connection.execute("insert into writers (writer_id, batch) values (%s, 0)", [writer_id])
    buffer = RunBuffer(fence, lambda _: None, lambda: None)
    parameters = bind([make_share(buffer, list(entries))])
    flush = writer._FLUSH  # as it is now: a test may have removed a guard from it
    cursor: AsyncRawCursor[Any] = AsyncRawCursor(connection)
    await cursor.execute(flush.text, flush.bind({**parameters, "linger": LINGER, "writer_id": writer_id, "batch": 1}))
    return await cursor.fetchall()


async def count_rows(lab: Laboratory, fence: Fence) -> dict[str, int]:
    """How much of each kind the database has of this run."""
    kept = {"checkpoints": 0, "checkpoint_blobs": 0, "checkpoint_writes": 0}
    for table in kept:
        kept[table] = await lab.value(f"select count(*) from {table} where thread_id = %s", str(fence.thread_id))
    kept["run_events"] = await lab.value("select count(*) from run_events where thread_id = %s", fence.thread_id)
    return kept


NOTHING = {"checkpoints": 0, "checkpoint_blobs": 0, "checkpoint_writes": 0, "run_events": 0}
