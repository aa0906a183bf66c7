"""Invariant 12: whoever had to wait decides on the row it locked; nothing is written behind what it decided."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from psycopg import AsyncConnection

from threadline.checkpoints.buffer import CancelRequested, Entry, Fence, FencedOut
from threadline.checkpoints.statements import load_statements
from threadline.runs.errors import NothingToCancel, ThreadBusy, ThreadNotFound
from threadline.runs.model import CancelAction, MultitaskStrategy, RunStatus
from threadline.tests.laboratory.laboratory import Laboratory, read
from threadline.tests.laboratory.locks import until_blocked
from threadline.tests.laboratory.writing import (
    NOTHING,
    QUEUE,
    count_rows,
    flush_in,
    make_checkpoint,
    make_finish,
    open_writer,
    seed_run,
)

THREADS = load_statements("threadline.runs", "threads.sql")
POOL, ADMISSION, WRITER = "threadline/pool", "threadline/admission", "threadline/writer/%"


@asynccontextmanager
async def flushing(lab: Laboratory, fence: Fence, *entries: Entry) -> AsyncIterator[AsyncConnection[Any]]:
    """A flush that has written everything and commits at the end of the block."""
    connection = await lab.connect("test/flush")
    async with connection.transaction():
        assert len(await flush_in(connection, fence, entries)) == 2
        yield connection


async def blocked(lab: Laboratory, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Start `work` and return its task when it waits for a lock."""
    task = asyncio.create_task(work)
    await until_blocked(await lab.connect(), name)
    assert not task.done()
    return task


def given(lab: Laboratory) -> dict[str, Any]:
    return {"input": {"folder": str(lab.folder), "log": []}}


async def test_a_delete_that_waited_for_a_flush_leaves_no_orphan(lab: Laboratory) -> None:
    engine = await lab.open(executes=False)
    fence = await seed_run(lab)
    async with flushing(lab, fence, make_checkpoint("late")):
        deleting = await blocked(lab, engine.threads.delete(fence.thread_id), POOL)
    await deleting
    assert await count_rows(lab, fence) == NOTHING
    for table in ("threads", "thread_heads", "runs"):
        assert await lab.value(f"select count(*) from {table} where thread_id = %s", fence.thread_id) == 0


@pytest.mark.parametrize("make", [make_checkpoint, make_finish])
async def test_a_flush_that_waited_for_a_delete_writes_nothing_behind_it(lab: Laboratory, make: Any) -> None:
    fence = await seed_run(lab)
    deleter = await lab.connect("test/delete")
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        async with deleter.transaction():
            await deleter.execute(THREADS["lock_head"], {"thread_id": fence.thread_id})
            await deleter.execute(THREADS["delete"], {"thread_id": fence.thread_id})
            flush = await blocked(lab, buffer.committed(buffer.add(make("late"))), WRITER)
        with pytest.raises(FencedOut):
            await flush
    assert await count_rows(lab, fence) == NOTHING
    assert await lab.value("select count(*) from threads") == 0


async def test_a_rollback_that_waited_for_a_flush_removes_what_that_wrote(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    await lab.rows("update thread_heads set cancel = 'rollback'")
    mine = f'{{"run_id": "{fence.run_id}"}}'
    async with flushing(lab, fence, make_checkpoint("late", metadata=mine)):
        engine = await lab.open()
        await lab.make_steady()
        await until_blocked(await lab.connect(), POOL)  # the takeover, which carries the request out
    assert await engine.tails.result(await seeded(lab, fence)) == b"{}"
    left = await count_rows(lab, fence)
    assert {**left, "run_events": 0} == NOTHING
    assert [event.name for event in await lab.log(fence.thread_id)] == ["values", ".event/lifecycle", ".run_ended"]
    assert await lab.value("select count(*) from runs") == 0


async def seeded(lab: Laboratory, fence: Fence) -> Any:
    """The seeded run as its client knows it."""
    from threadline.runs.model import Run

    request = lab.request("line", fence.thread_id)
    facts: dict[str, Any] = dict.fromkeys(Run.__dataclass_fields__)
    return Run(
        **{
            **facts,
            "run_id": fence.run_id,
            "thread_id": fence.thread_id,
            "graph_id": request.graph_id,
            "status": RunStatus.RUNNING,
            "start_seq": 0,
        }
    )


async def test_a_flush_that_waited_for_a_rollback_writes_nothing_behind_it(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    ender = await lab.connect("test/rollback")
    end = {"status": "interrupted", "thread_status": "idle", "interrupts": "{}", "values": None}
    log = {"events": 1, "contents": '[[".run_ended",2,0]]', "payload": b"{}", "failures": 0, "linger": "5 min"}
    errors = {"error": None, "thread_error": None}
    ids = {"thread_id": fence.thread_id, "run_id": fence.run_id}
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        async with ender.transaction():
            await ender.execute(QUEUE["lock_head"], ids)
            await ender.execute(QUEUE["end_active"], {**end, **errors, **log, **ids})
            await ender.execute(QUEUE["delete_run"], ids)
            flush = await blocked(lab, buffer.committed(buffer.add(make_checkpoint("late"))), WRITER)
        with pytest.raises(FencedOut):
            await flush
    assert (await count_rows(lab, fence))["checkpoints"] == 0
    assert [event.name for event in await lab.log(fence.thread_id)] == [".run_ended"]


@pytest.mark.parametrize("strategy", list(MultitaskStrategy))
async def test_of_two_admissions_at_once_one_runs_and_the_other_is_told_or_waits(
    lab: Laboratory, strategy: MultitaskStrategy
) -> None:
    """The first is not committed when the second looks."""
    thread_id = uuid4()
    one, other = await lab.open(executes=False), await lab.open(executes=False)
    await one.threads.create(thread_id)
    holder = await lab.connect("test/holder")
    async with holder.transaction():
        await holder.execute(QUEUE["lock_head"], {"thread_id": thread_id})
        requests = [lab.request("line", thread_id, multitask_strategy=strategy, **given(lab)) for _ in range(2)]
        creating = [
            asyncio.create_task(one.queue.create(requests[0])),
            asyncio.create_task(other.queue.create(requests[1])),
        ]
        name = ADMISSION if strategy in (MultitaskStrategy.REJECT, MultitaskStrategy.ENQUEUE) else POOL
        await until_blocked(await lab.connect(), name, count=2)
    results = await asyncio.gather(*creating, return_exceptions=True)
    busy = [result for result in results if isinstance(result, ThreadBusy)]
    assert len(busy) == (1 if strategy is MultitaskStrategy.REJECT else 0)
    rows = await lab.rows("select status, count(*)::int from runs where thread_id = %s group by 1", thread_id)
    if strategy is MultitaskStrategy.REJECT:
        assert rows == [("pending", 1)]
    elif strategy is MultitaskStrategy.ENQUEUE:
        assert rows == [("pending", 2)]
    assert await lab.value("select count(*) from runs where status = 'running'") == 0
    inflight = await lab.value("select inflight from thread_heads")
    assert inflight == await lab.value("select count(*) from runs where status in ('pending', 'running')")


async def test_a_reject_that_waited_for_another_admission_sees_its_run(lab: Laboratory) -> None:
    """Both have room to start their run at once; only one may."""
    one, other = await lab.open(), await lab.open()
    run = await lab.run(one, "line", **given(lab))
    holder = await lab.connect("test/holder")
    async with holder.transaction():
        await holder.execute(QUEUE["lock_head"], {"thread_id": run.thread_id})
        waiting = [
            asyncio.create_task(
                engine.queue.create(
                    lab.request("line", run.thread_id, multitask_strategy=MultitaskStrategy.REJECT, **given(lab))
                )
            )
            for engine in (one, other)
        ]
        await until_blocked(await lab.connect(), ADMISSION, count=2)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sorted(isinstance(result, ThreadBusy) for result in results) == [False, True]
    [accepted] = [result for result in results if not isinstance(result, BaseException)]
    await one.tails.result(accepted)
    assert await lab.value("select count(*) from runs") == 2


async def test_an_admission_that_waited_for_a_delete_is_told_that_the_thread_is_gone(lab: Laboratory) -> None:
    engine = await lab.open()
    run = await lab.run(engine, "line", **given(lab))
    deleter = await lab.connect("test/delete")
    async with deleter.transaction():
        await deleter.execute(THREADS["lock_head"], {"thread_id": run.thread_id})
        await deleter.execute(THREADS["delete"], {"thread_id": run.thread_id})
        creating = await blocked(lab, engine.queue.create(lab.request("line", run.thread_id, **given(lab))), ADMISSION)
    with pytest.raises(ThreadNotFound):
        await creating
    for table in ("runs", "run_events", "threads", "thread_heads"):
        assert await lab.value(f"select count(*) from {table}") == 0


async def test_an_admission_that_waited_for_a_finish_starts_its_run_at_once(lab: Laboratory) -> None:
    engine = await lab.open()
    fence = await seed_run(lab, engine.process_id)
    async with flushing(lab, fence, make_finish("end")):
        request = lab.request("line", fence.thread_id, **given(lab))
        creating = await blocked(lab, engine.queue.create(request), ADMISSION)
    run = await creating
    assert run.status is RunStatus.RUNNING
    await engine.tails.result(run)
    await lab.log(fence.thread_id)


async def test_a_state_update_that_waited_for_an_admission_is_told_that_the_thread_is_busy(lab: Laboratory) -> None:
    engine = await lab.open(executes=False)
    worker = await lab.open()
    run = await lab.run(worker, "line", **given(lab))
    before = await count_rows(lab, Fence(run.thread_id, run.run_id, 0))
    connection = await lab.connect("test/admission")
    async with connection.transaction():
        await connection.execute(QUEUE["lock_head"], {"thread_id": run.thread_id})
        updating = await blocked(lab, engine.states.update(run.thread_id, {"log": ["x"]}, as_node="c"), POOL)
        await connection.execute("update thread_heads set inflight = inflight + 1")
    with pytest.raises(ThreadBusy):
        await updating
    assert await count_rows(lab, Fence(run.thread_id, run.run_id, 0)) == before


async def test_a_cancel_that_waited_for_the_finish_comes_too_late(lab: Laboratory) -> None:
    engine = await lab.open(executes=False)
    fence = await seed_run(lab)
    async with flushing(lab, fence, make_finish("end")):
        cancelling = await blocked(lab, engine.queue.cancel(*fence[:2], CancelAction.ROLLBACK), POOL)
    with pytest.raises(NothingToCancel):
        await cancelling
    assert await lab.value("select status from runs") == "success"
    assert await lab.value("select cancel from thread_heads") is None


async def test_a_finish_that_waited_for_a_cancel_is_refused_until_that_is_carried_out(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    canceller = await lab.connect("test/cancel")
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        async with canceller.transaction():
            await canceller.execute(QUEUE["lock_head"], {"thread_id": fence.thread_id})
            request = {"thread_id": fence.thread_id, "run_id": fence.run_id, "action": "interrupt"}
            await canceller.execute(QUEUE["request_cancel"], request)
            last = buffer.add(make_checkpoint("last"))
            finish = await blocked(lab, buffer.committed(buffer.add(make_finish("too early"))), WRITER)
        with pytest.raises(CancelRequested):
            await finish
        await buffer.committed(last)
        await buffer.committed(buffer.add(make_finish("interrupted", cancel_known=True)))
    assert bench.stopped == []
    assert [read(event) for event in await lab.log(fence.thread_id)] == ["last", "interrupted"]
