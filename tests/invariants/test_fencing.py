"""Invariant 3: every write of a run locks its thread's head and matches the run and the epoch there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from psycopg import AsyncConnection

from threadline.checkpoints.buffer import Entry, Fence, FencedOut
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.run_saver import RunSaver
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.statements import load_statements
from threadline.runs.identity import uuid7
from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.locks import until_blocked
from threadline.tests.laboratory.writing import (
    MAKERS,
    NOTHING,
    QUEUE,
    count_rows,
    make_checkpoint,
    open_writer,
    seed_run,
)

THREADS = load_statements("threadline.runs", "threads.sql")
STATES = load_statements("threadline.runs", "states.sql")
SAVER = load_statements("threadline.checkpoints", "saver.sql")

Taker = Callable[[AsyncConnection[Any], Fence], Awaitable[Any]]


async def reclaim(connection: AsyncConnection[Any], fence: Fence) -> None:
    cursor = await connection.execute(QUEUE["reap"], {"max_attempts": 5, "steady": True, "calm": False})
    assert await cursor.fetchall() == [(fence.run_id, fence.thread_id)]


async def release(connection: AsyncConnection[Any], fence: Fence) -> None:
    fences = {"thread_id": [fence.thread_id], "run_id": [fence.run_id], "epoch": [fence.epoch], "delay": 0}
    assert (await connection.execute(QUEUE["release"], fences)).rowcount == 1


async def claim_again(connection: AsyncConnection[Any], fence: Fence) -> None:
    await release(connection, fence)
    cursor = await connection.execute(QUEUE["claim"], {"room": 1, "process_id": uuid4()})
    assert (await cursor.fetchall())[0][0] == fence.run_id


async def end_for_a_dead_worker(connection: AsyncConnection[Any], fence: Fence) -> None:
    await connection.execute(QUEUE["lock_head"], {"thread_id": fence.thread_id})
    end = {"status": "interrupted", "thread_status": "idle", "interrupts": "{}", "values": None}
    log = {"events": 1, "contents": '[[".run_ended",2,0]]', "payload": b"{}", "failures": 1, "linger": "5 min"}
    errors = {"error": None, "thread_error": None}
    ids = {"thread_id": fence.thread_id, "run_id": fence.run_id}
    assert (await connection.execute(QUEUE["end_active"], {**end, **errors, **log, **ids})).rowcount == 1


async def delete(connection: AsyncConnection[Any], fence: Fence) -> None:
    await connection.execute(THREADS["lock_head"], {"thread_id": fence.thread_id})
    assert (await connection.execute(THREADS["delete"], {"thread_id": fence.thread_id})).rowcount == 1


async def update_state(connection: AsyncConnection[Any], fence: Fence) -> None:
    await connection.execute(STATES["lock_head"], {"thread_id": fence.thread_id})
    state = {"run_id": uuid4(), "status": "idle", "values": "{}", "interrupts": "{}"}
    log = {"contents": '[[".state_updated",2,0]]', "payload": b"{}"}
    await connection.execute(STATES["record_update"], {**state, **log, "thread_id": fence.thread_id})


@pytest.mark.parametrize("make", MAKERS)
async def test_a_write_under_a_former_epoch_is_refused_whatever_it_writes(
    lab: Laboratory, make: Callable[[], Entry]
) -> None:
    fence = await seed_run(lab)
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence._replace(epoch=0))
        with pytest.raises(FencedOut):
            await buffer.committed(buffer.add(make()))
        with pytest.raises(FencedOut):
            buffer.add(make())
    assert await count_rows(lab, fence) == NOTHING
    assert bench.stopped == [fence.run_id]
    assert await lab.value("select status from runs where run_id = %s", fence.run_id) == "running"


async def test_a_write_of_another_run_of_the_thread_is_refused(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence._replace(run_id=uuid7()))
        with pytest.raises(FencedOut):
            await buffer.committed(buffer.add(make_checkpoint()))
    assert await count_rows(lab, fence) == NOTHING


@pytest.mark.parametrize("take", [reclaim, release, claim_again, end_for_a_dead_worker, delete, update_state])
@pytest.mark.parametrize("make", [MAKERS[0], MAKERS[3]])
async def test_a_flush_that_waited_for_the_head_is_refused_when_somebody_took_it(
    lab: Laboratory, take: Taker, make: Callable[[], Entry]
) -> None:
    fence = await seed_run(lab)
    taker = await lab.connect("test/taker")
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        async with taker.transaction():
            await take(taker, fence)
            flush = asyncio.ensure_future(buffer.committed(buffer.add(make())))
            await until_blocked(await lab.connect(), "threadline/writer/%")
        with pytest.raises(FencedOut):
            await flush
    assert bench.stopped == [fence.run_id]
    written = await count_rows(lab, fence)
    assert {**written, "run_events": 0} == NOTHING
    assert await lab.value("select count(*) from run_events where run_id = %s", fence.run_id) == (
        1 if take in (claim_again, end_for_a_dead_worker) else 0
    )


async def test_the_rest_of_a_batch_goes_through_where_one_thread_is_refused(lab: Laboratory) -> None:
    fences = [await seed_run(lab) for _ in range(5)]
    taker = await lab.connect("test/taker")
    async with open_writer(lab.database()) as bench:
        buffers = [bench.open(fence) for fence in fences]
        async with taker.transaction():
            await release(taker, fences[2])
            flushes = [asyncio.ensure_future(b.committed(b.add(make_checkpoint()))) for b in buffers]
            await until_blocked(await lab.connect(), "threadline/writer/%")
        results = await asyncio.gather(*flushes, return_exceptions=True)
    assert [isinstance(result, FencedOut) for result in results] == [False, False, True, False, False]
    assert bench.stopped == [fences[2].run_id]
    for fence, result in zip(fences, results, strict=True):
        assert (await count_rows(lab, fence) == NOTHING) is (result is not None)


async def test_no_write_waits_for_a_lock_on_the_row_of_the_run(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    other = await lab.connect()
    async with open_writer(lab.database()) as bench, other.transaction():
        await other.execute("select from runs where run_id = %s for update", [fence.run_id])
        buffer = bench.open(fence)
        async with asyncio.timeout(20):
            for make in MAKERS[:3]:
                await buffer.committed(buffer.add(make()))


async def test_the_fence_belongs_to_the_saver_and_not_to_the_config(lab: Laboratory, pool: Pool) -> None:
    fence = await seed_run(lab)
    mine: Any = {"configurable": {"thread_id": str(fence.thread_id), "checkpoint_ns": ""}}
    other: Any = {"configurable": {"thread_id": "somebody's", "checkpoint_ns": ""}}
    async with open_writer(lab.database()) as bench:
        saver = RunSaver(pool, bench.open(fence), fresh=True)
        await lab.rows("update thread_heads set epoch = epoch + 1 where thread_id = %s", fence.thread_id)
        await saver.aput(other, empty_checkpoint(), {}, {})  # a tool's own thread: as the official saver does
        with pytest.raises(FencedOut):
            await saver.aput(mine, empty_checkpoint(), {}, {})
        outside = ThreadSaver(pool)
        await outside.aput(mine, empty_checkpoint(), {}, {})
    assert await saver.aget_tuple(other) is not None
    assert (await count_rows(lab, fence))["checkpoints"] == 1
