"""Invariant 13: all threads of a statement are locked in one place, ordered by id; so nobody deadlocks."""

import asyncio
import random
from typing import Any
from uuid import uuid4

import pytest
from psycopg import OperationalError
from psycopg.errors import IdleInTransactionSessionTimeout

from threadline.api.errors import known_error
from threadline.runs import heads
from threadline.runs.model import CancelAction, MultitaskStrategy
from threadline.runs.sealed_rows import seal_run
from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.locks import until_blocked
from threadline.tests.laboratory.writing import MAKERS, QUEUE, flush_in, make_event, open_writer, seed_run

_DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
ROUNDS = 40


async def test_flushes_of_two_processes_over_the_same_hundred_threads_never_deadlock(lab: Laboratory) -> None:
    fences = [await seed_run(lab) for _ in range(100)]
    order = random.Random(7)  # any order will do, but the same one every time

    async def write() -> int:
        """Each round one batch of all hundred, in an order of its own."""
        async with open_writer(lab.database()) as bench:
            buffers = [bench.open(fence) for fence in fences]
            for number in range(ROUNDS):
                shuffled = order.sample(buffers, len(buffers))
                make = MAKERS[number % 3]
                await asyncio.gather(*[buffer.committed(buffer.add(make())) for buffer in shuffled])
            return len(bench.commits)

    async def interfere() -> None:
        """Everybody else who locks several heads at once."""
        connection = await lab.connect("test/interfere")
        threads = [fence.thread_id for fence in fences]
        for _ in range(ROUNDS):
            shuffled = order.sample(threads, len(threads))
            gone = {"run_id": [uuid4()] * 100, "epoch": [1] * 100, "delay": 0}
            await connection.execute(QUEUE["release"], {"thread_id": shuffled, **gone})
            await connection.execute(QUEUE["claim"], {"room": 100, "process_id": uuid4()})

    before = await lab.value(_DEADLOCKS)
    async with asyncio.timeout(60):
        written = await asyncio.gather(write(), write(), interfere())
    assert list(written) == [100 * ROUNDS, 100 * ROUNDS, None]
    assert await lab.value(_DEADLOCKS) == before
    last = await lab.rows("select distinct last_seq from thread_heads")
    assert last == [(2 * ROUNDS,)]


async def test_a_process_that_stands_still_in_mid_transaction_does_not_hold_its_thread_for_ever(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had locked is free again after a minute; when it wakes, nothing of what it wanted is done."""
    lock: str = heads._SQL["lock_head"]
    assert lock.count("60s") == 1
    monkeypatch.setattr(heads, "_SQL", {**heads._SQL, "lock_head": lock.replace("60s", "300ms")})
    still, awake = asyncio.Event(), asyncio.Event()

    async def stand_still(*arguments: Any) -> str | None:
        still.set()
        await awake.wait()
        return await seal_run(*arguments)

    monkeypatch.setattr(heads, "seal_run", stand_still)  # between the lock and what is decided under it
    door = await lab.open(executes=False)
    first = await door.queue.create(lab.request("line"))
    request = lab.request("line", thread_id=first.thread_id, multitask_strategy=MultitaskStrategy.INTERRUPT)
    standing = asyncio.create_task(door.queue.create(request))
    await still.wait()
    await door.queue.cancel(first.thread_id, first.run_id, CancelAction.INTERRUPT)
    awake.set()
    with pytest.raises((OperationalError, IdleInTransactionSessionTimeout)) as refused:
        await standing
    answer = known_error(refused.value)
    assert answer is not None
    assert answer.status_code == 503
    assert await lab.rows("select run_id, status from runs") == [(first.run_id, "interrupted")]


@pytest.mark.parametrize("downwards", [False, True])
async def test_a_flush_locks_its_heads_in_the_order_of_their_ids(lab: Laboratory, downwards: bool) -> None:
    """With the middle head held, it has locked the ones before it and not yet those behind."""
    fences = sorted([await seed_run(lab) for _ in range(9)], reverse=downwards)
    before, middle, behind = sorted(fences)[:4], sorted(fences)[4], sorted(fences)[5:]
    holder, prober = await lab.connect("test/holder"), await lab.connect("test/prober")
    free: Any = "select thread_id from thread_heads where thread_id = any(%s) for no key update skip locked"
    async with open_writer(lab.database()) as bench:
        async with holder.transaction():
            await flush_in(holder, middle, [make_event()])
            buffers = [bench.open(fence) for fence in fences]
            waiting = [asyncio.create_task(buffer.committed(buffer.add(make_event()))) for buffer in buffers]
            await until_blocked(prober, "threadline/writer/fast")
            cursor = await prober.execute(free, [[fence.thread_id for fence in (*before, *behind)]])
            assert {row[0] for row in await cursor.fetchall()} == {fence.thread_id for fence in behind}
        await asyncio.gather(*waiting)
