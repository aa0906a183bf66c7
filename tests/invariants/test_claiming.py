"""Invariant 2: one active run per thread, decided on its locked head; claiming takes threads, then their runs."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from threadline.runs.engine import Engine
from threadline.runs.model import Run
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.writing import QUEUE


async def enqueue(lab: Laboratory, engine: Engine, thread_id: UUID, **fields: Any) -> Run:
    given = {"input": {"folder": str(lab.folder), "log": []}}
    return await engine.queue.create(lab.request("line", thread_id, create_thread=True, **given, **fields))


async def claim(connection: AsyncConnection[Any], room: int = 100) -> list[Any]:
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(QUEUE["claim"], {"room": room, "process_id": uuid4()})
    return await cursor.fetchall()


async def active(lab: Laboratory, thread_id: UUID) -> list[UUID]:
    rows = await lab.rows("select run_id from runs where thread_id = %s and status = 'running'", thread_id)
    return [run_id for (run_id,) in rows]


async def test_of_a_threads_pending_runs_the_earliest_due_is_claimed_and_the_others_wait(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    threads = [uuid4() for _ in range(5)]
    late = [await enqueue(lab, door, thread_id, delay=timedelta(hours=1)) for thread_id in threads]
    first = [await enqueue(lab, door, thread_id) for thread_id in threads]
    second = [await enqueue(lab, door, thread_id) for thread_id in threads]
    connection = await lab.connect()
    claimed = await claim(connection)
    assert {row["run_id"] for row in claimed} == {run.run_id for run in first}
    assert await claim(connection) == []
    for thread_id, run in zip(threads, first, strict=True):
        assert await active(lab, thread_id) == [run.run_id]
    assert {await lab.status(run) for run in (*second, *late)} == {"pending"}


async def test_claims_of_two_processes_never_share_a_thread(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    threads = [uuid4() for _ in range(20)]
    for thread_id in threads * 2:
        await enqueue(lab, door, thread_id)
    one, other = await lab.connect(), await lab.connect()
    async with one.transaction(), other.transaction():
        mine, theirs = await claim(one, 12), await claim(other, 12)
    assert len(mine) == 12
    assert len(theirs) == 8
    assert {row["thread_id"] for row in mine}.isdisjoint({row["thread_id"] for row in theirs})
    assert await claim(one) == []
    for thread_id in threads:
        assert len(await active(lab, thread_id)) == 1


async def test_a_claim_passes_over_a_thread_whose_head_is_held(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    threads = [uuid4(), uuid4()]
    runs = [await enqueue(lab, door, thread_id) for thread_id in threads]
    holder, claimer = await lab.connect(), await lab.connect()
    async with holder.transaction():
        await holder.execute(QUEUE["lock_head"], {"thread_id": threads[0]})
        async with asyncio.timeout(20):
            assert [row["run_id"] for row in await claim(claimer)] == [runs[1].run_id]
    assert [row["run_id"] for row in await claim(claimer)] == [runs[0].run_id]


async def test_a_run_that_was_handed_back_comes_before_those_behind_it(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    thread_id = uuid4()
    first, _ = await enqueue(lab, door, thread_id), await enqueue(lab, door, thread_id)
    connection = await lab.connect()
    [row] = await claim(connection)
    fence = {"thread_id": [thread_id], "run_id": [row["run_id"]], "epoch": [row["epoch"]], "delay": 0}
    await connection.execute(QUEUE["release"], fence)
    [again] = await claim(connection)
    assert (again["run_id"], again["attempt"]) == (first.run_id, 2)
    assert again["epoch"] > row["epoch"]


async def test_processes_that_claim_side_by_side_run_each_run_once_and_one_per_thread(lab: Laboratory) -> None:
    """Through the whole engine: six runs on each of ten threads, three processes that race for them."""
    engines = [await lab.open(concurrency=4) for _ in range(2)]
    await lab.start(concurrency=4)
    folders = {uuid4(): lab.make_folder() for _ in range(10)}

    def ask(number: int, thread_id: UUID) -> Any:
        given = {"input": {"folder": str(folders[thread_id]), "log": []}}
        return engines[number % 2].queue.create(lab.request("line", thread_id, create_thread=True, **given))

    await asyncio.gather(*[ask(0, thread_id) for thread_id in folders])
    await asyncio.gather(*[ask(number, thread_id) for number in range(1, 6) for thread_id in folders])

    async def all_final() -> bool:
        return bool(await lab.value("select bool_and(status = 'success') from runs"))

    await until(all_final, "every run has ended well")
    for thread_id, folder in folders.items():
        assert set(trace(folder).values()) == {6}
        statement = "select started_at, ended_at, attempt from runs where thread_id = %s order by started_at"
        times = await lab.rows(statement, thread_id)
        assert [attempt for *_, attempt in times] == [1] * 6
        assert all(before[1] <= after[0] for before, after in pairwise(times))
        assert await lab.log(thread_id)
    assert await lab.value("select count(*) from thread_heads where inflight <> 0 or run_id is not null") == 0


async def test_a_run_that_ends_lets_the_next_one_of_its_thread_start_at_once(lab: Laboratory) -> None:
    engine = await lab.open(poll=timedelta(minutes=1))
    folder = lab.make_folder()
    given: dict[str, Any] = {"input": {"folder": str(folder), "gates": ["b"], "log": []}}
    first = await engine.queue.create(lab.request("line", **given))
    second = await engine.queue.create(lab.request("line", first.thread_id, **given))
    await lab.until_traced(folder, "b started")
    assert await lab.status(second) == "pending"
    open_gate(folder, "b")
    assert await engine.tails.result(second) is not None
    assert (await engine.queue.get(second.thread_id, second.run_id)).attempt == 1
