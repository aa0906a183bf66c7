"""Invariant 1: a run that was accepted is a committed row, reaches a final status, and stays there."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from psycopg import AsyncConnection

from threadline.api.errors import STATUS_OF
from threadline.runs import admission
from threadline.runs.engine import Engine
from threadline.runs.errors import NothingToCancel, Overloaded, RunError, ThreadHeld
from threadline.runs.model import CancelAction, Run, RunStatus
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, read, trace
from threadline.tests.laboratory.locks import until, until_blocked
from threadline.tests.laboratory.proxy import open_proxy
from threadline.tests.laboratory.writing import QUEUE

ADMIT = "insert into runs"  # what only the admission says


def given(folder: Any, *gates: str) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": []}}


async def attempts(lab: Laboratory, thread_id: UUID) -> list[int]:
    return [read(event)["attempt"] for event in await lab.log(thread_id) if event.name == "metadata"]


async def test_an_admission_whose_answer_is_lost_is_accepted_and_executed_once(lab: Laboratory) -> None:
    async with open_proxy(lab.dsn) as proxy:
        engine = await lab.open(proxy.conninfo)
        before = await lab.run(engine, "line", **given(lab.make_folder()))
        proxy.lose_answer(ADMIT)
        folders = [lab.make_folder() for _ in range(10)]
        requests = [lab.request("line", **given(folder)) for folder in folders]
        requests.append(lab.request("line", before.thread_id, **given(lab.make_folder())))
        runs = await asyncio.gather(*map(engine.queue.create, requests))
        for run in runs:
            assert await engine.tails.result(run) is not None
            assert await lab.until_status(run, "success") == "success"
        await lab.exit()
    assert proxy.lost == 1
    assert [run.run_id for run in runs] == [request.run_id for request in requests]
    for folder, run in zip(folders, runs, strict=False):
        assert set(trace(folder).values()) == {1}
        assert await attempts(lab, run.thread_id) == [1]
    assert await lab.value("select count(*) from runs") == 12


async def test_a_thread_whose_head_is_held_for_long_is_held_and_not_busy(lab: Laboratory) -> None:
    """By a process that stands still in mid-transaction: who asks for a place in the queue need not ask otherwise."""
    engine = await lab.open()
    first = await lab.run(engine, "line", **given(lab.make_folder()))
    holder = await lab.connect("test/holder")
    async with holder.transaction():
        await holder.execute(QUEUE["lock_head"], {"thread_id": first.thread_id})
        with pytest.raises(ThreadHeld) as told:
            await engine.queue.create(lab.request("line", first.thread_id, **given(lab.make_folder())))
        assert STATUS_OF[next(kind for kind in type(told.value).__mro__ if kind in STATUS_OF)] == 503
        assert await lab.value("select count(*) from runs") == 1
    second = await lab.run(engine, "line", first.thread_id, **given(lab.make_folder()))
    assert second.status == "success"


async def test_no_more_runs_wait_to_be_accepted_than_there_is_memory_set_aside_for(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MOST_ASKED", 5)
    monkeypatch.setattr(admission, "MAX_BATCH", 1)
    door = await lab.open(executes=False)
    requests = [lab.request("line", **given(lab.folder)) for _ in range(20)]
    answers = await asyncio.gather(*map(door.queue.create, requests), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    accepted = [answer for answer in answers if isinstance(answer, Run)]
    assert refused
    assert len(refused) + len(accepted) == 20
    assert await lab.value("select count(*) from runs") == len(accepted) >= 5

    monkeypatch.setattr(admission, "MOST_ASKED_SIZE", 1_000)
    large = given(lab.folder) | {"config": {"configurable": {"note": "x" * 2_000}}}
    assert await door.queue.create(lab.request("line", **large))  # alone, whatever its size


async def test_an_admission_whose_answer_is_lost_twice_is_not_sent_again(lab: Laboratory) -> None:
    """Once for the statement, once for the question what became of it."""
    async with open_proxy(lab.dsn) as proxy:
        engine = await lab.open(proxy.conninfo)
        folder = lab.make_folder()
        proxy.lose_answer(ADMIT)
        proxy.lose_answer("started_at = r.created_at", times=2)
        run = await engine.queue.create(lab.request("line", **given(folder)))
        await lab.until_status(run, "success")
        await lab.exit()
    assert proxy.lost == 3
    assert set(trace(folder).values()) == {1}


async def test_a_process_that_lost_the_answer_leaves_a_run_that_was_taken_over_alone(lab: Laboratory) -> None:
    """Its claim was committed; but until it hears of that, its lease has passed and another one has the run."""
    async with open_proxy(lab.dsn) as proxy:
        engine = await lab.open(proxy.conninfo)
        folder = lab.make_folder()
        proxy.lose_answer(ADMIT)
        proxy.hold("started_at = r.created_at")
        creating = asyncio.ensure_future(engine.queue.create(lab.request("line", **given(folder, "b"))))
        await until(lambda: proxy.held, "it asks what became of the run")
        # As if its lease had passed: the run is some dead process's.
        await lab.rows("update runs set process_id = gen_random_uuid()")
        await lab.rows(QUEUE["reap"] % {"max_attempts": 5, "steady": "true", "calm": "false"})
        other = await lab.open()
        await lab.until_traced(folder, "b started")
        proxy.release()
        run = await creating
        open_gate(folder, "b")
        await other.tails.result(run)
        await lab.exit()
    assert set(trace(folder).values()) == {1}
    assert await attempts(lab, run.thread_id) == [1, 2]


async def test_a_process_whose_row_was_swept_goes_on_accepting(lab: Laboratory) -> None:
    engine = await lab.open()
    await lab.run(engine, "line", **given(lab.make_folder()))
    await lab.rows("delete from writers")
    run = await lab.run(engine, "line", **given(lab.make_folder()))
    assert run.status is RunStatus.SUCCESS


async def test_whoever_waits_for_acceptance_is_told_when_the_process_stops(lab: Laboratory) -> None:
    engine = await lab.open()
    run = await lab.run(engine, "line", **given(lab.make_folder()))
    # Not one of the laboratory's connections: it has to outlast the engine.
    async with await AsyncConnection.connect(lab.dsn) as holder:
        await holder.execute("select from thread_heads where thread_id = %s for update", [run.thread_id])
        request = lab.request("line", run.thread_id, **given(lab.make_folder()))
        creating = asyncio.ensure_future(engine.queue.create(request))
        await until_blocked(await lab.connect(), "threadline/admission")
        await lab.exit()
    with pytest.raises(RunError):
        await asyncio.wait_for(creating, 5)


async def final_run(lab: Laboratory, engine: Engine, graph_id: str) -> Any:
    run = await lab.run(engine, graph_id, **given(lab.make_folder()))
    assert run.status.is_final
    return run


@pytest.mark.parametrize("graph_id", ["line", "opaque", "asking"])
async def test_a_final_status_is_final(lab: Laboratory, graph_id: str) -> None:
    engine = await lab.open()
    run = await final_run(lab, engine, graph_id)
    for action in CancelAction:
        with pytest.raises(NothingToCancel):
            await engine.queue.cancel(run.thread_id, run.run_id, action)
    await lab.rows("update processes set leased_until = clock_timestamp() - interval '1 hour'")
    for statement, parameters in (
        ("reap", {"max_attempts": 5, "steady": True, "calm": False}),
        ("claim", {"room": 10, "process_id": run.run_id}),
        ("end_pending", {"run_id": run.run_id, "last_seq": 100, "contents": "[]", "payload": b""}),
    ):
        connection = await lab.connect()
        cursor = await connection.execute(QUEUE[statement], parameters)
        assert cursor.rowcount == 0, statement
    again = await engine.queue.get(run.thread_id, run.run_id)
    assert again == run
