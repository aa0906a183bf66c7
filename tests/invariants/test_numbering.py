"""Invariant 6: numbers are made under the head's lock, held to the commit, whoever appends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from threadline.checkpoints.buffer import Fence
from threadline.runs.engine import Engine
from threadline.runs.model import CancelAction
from threadline.tests.laboratory.checks import append_side_by_side
from threadline.tests.laboratory.laboratory import Laboratory, hole_in, open_gate, read
from threadline.tests.laboratory.locks import until, until_blocked
from threadline.tests.laboratory.writing import flush_in, make_event, open_writer, seed_run


async def test_writers_side_by_side_leave_no_hole_that_anybody_could_see(lab: Laboratory) -> None:
    assert await append_side_by_side(lab) == []


async def append_by_a_flush(lab: Laboratory, engine: Engine, fence: Fence) -> None:
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        await buffer.committed(buffer.add(make_event("second")))


async def append_by_a_cancel(lab: Laboratory, engine: Engine, fence: Fence) -> None:
    [[run_id]] = await lab.rows("select run_id from runs where status = 'pending'")
    await engine.queue.cancel(fence.thread_id, run_id, CancelAction.INTERRUPT)


@pytest.mark.parametrize("append", [append_by_a_flush, append_by_a_cancel])
@pytest.mark.parametrize("commits", [True, False], ids=["behind a commit", "behind a failure"])
async def test_whoever_appends_second_waits_for_the_number_of_the_first(
    lab: Laboratory, append: Callable[[Laboratory, Engine, Fence], Awaitable[None]], commits: bool
) -> None:
    engine = await lab.open(executes=False)
    fence = await seed_run(lab)
    await engine.queue.create(lab.request("line", fence.thread_id, input={}))
    first = await lab.connect("test/first")
    await first.set_autocommit(False)
    await flush_in(first, fence, [make_event("first"), make_event("first too")])
    appending = asyncio.create_task(asyncio.wait_for(append(lab, engine, fence), 10))
    await until_blocked(await lab.connect(), "threadline/%")
    await (first.commit() if commits else first.rollback())
    await appending
    numbers = [(event.seq, read(event)) for event in await lab.log(fence.thread_id)]
    appended = 2 if append is append_by_a_cancel else 1
    assert len(numbers) == appended + (2 if commits else 0)
    assert [number for number, _ in numbers] == list(range(1, len(numbers) + 1))
    assert [text for _, text in numbers][:-appended] == (["first", "first too"] if commits else [])


async def test_runs_cancels_state_updates_and_hand_overs_number_one_log_without_a_hole(lab: Laboratory) -> None:
    """Everybody who may append to a thread, from two processes, while a reader looks."""
    one, other = await lab.open(), await lab.open()
    thread_id = uuid4()
    await one.threads.create(thread_id)
    holes: list[str] = []
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            holes.append(hole_in(await lab.log_rows(thread_id), None))

    watching = asyncio.create_task(watch())
    for number in range(6):
        folder = lab.make_folder()
        given: Any = {"input": {"folder": str(folder), "gates": ["b"], "log": []}}
        active = await one.queue.create(lab.request("line", thread_id, **given))
        pending = [await other.queue.create(lab.request("line", thread_id, **given)) for _ in range(3)]
        await lab.until_traced(folder, "b started")
        cancels = [one.queue.cancel(thread_id, run.run_id, CancelAction.INTERRUPT) for run in pending]
        await asyncio.gather(other.queue.cancel(thread_id, active.run_id, list(CancelAction)[number % 2]), *cancels)
        open_gate(folder, "b")

        async def idle() -> bool:
            return bool(await lab.value("select inflight = 0 from thread_heads where thread_id = %s", thread_id))

        await until(idle, "nothing is in flight")
        if number % 2 == 0:
            await other.states.update(thread_id, {"log": [f"update {number}"]}, as_node="c")
    done.set()
    await watching
    names = [event.name for event in await lab.log(thread_id)]
    assert set(holes) == {""}
    assert names.count(".run_ended") == 24
    assert names.count(".state_updated") == 3
    assert names.count("metadata") >= 6


async def test_rows_are_keyed_by_their_last_number_and_name_their_first(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        for number in range(5):
            buffer.add_event("custom", b"%d" % number)
        await buffer.committed(buffer.add(make_event()))
    rows = await lab.log_rows(fence.thread_id)
    assert [(row.first_seq, row.last_seq) for row in rows] == [(1, 6)]
    key = "select pg_get_constraintdef(oid) from pg_constraint where conname = 'run_events_pkey'"
    assert await lab.value(key) == "PRIMARY KEY (thread_id, last_seq)"
