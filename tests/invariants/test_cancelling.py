"""Invariant 15: cancelling is a durable request; the finish decides on the locked row, the takeover carries it out."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from threadline.runs.engine import Engine
from threadline.runs.errors import NothingToCancel, RunNotFound
from threadline.runs.model import CancelAction, MultitaskStrategy, Run, RunStatus
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, read, trace
from threadline.tests.laboratory.locks import until

INTERRUPT, ROLLBACK = CancelAction.INTERRUPT, CancelAction.ROLLBACK


def given(folder: Path, *gates: str) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": []}}


async def start(lab: Laboratory, engine: Engine, folder: Path, thread: Run | None = None) -> Run:
    """A run that waits at its second node, with what the first has done committed."""
    thread_id = thread.thread_id if thread else None
    run = await engine.queue.create(lab.request("line", thread_id, **given(folder, "b"), durability="sync"))
    await lab.until_traced(folder, "b started")
    return run


async def names(lab: Laboratory, run: Run) -> list[str]:
    return [event.name for event in await lab.log(run.thread_id) if event.run_id == run.run_id]


async def checkpoints_of(lab: Laboratory, run: Run) -> int:
    count: int = await lab.value("select count(*) from checkpoints where metadata ->> 'run_id' = %s", str(run.run_id))
    return count


async def assert_stopped(lab: Laboratory, engine: Engine, run: Run, action: CancelAction) -> None:
    """The run is over as it was asked to be: its events are closed by one end, its work kept or undone."""
    logged = await names(lab, run)
    assert logged.count(".run_ended") == 1
    assert logged[-1] == ".run_ended"
    if action is ROLLBACK:
        assert await checkpoints_of(lab, run) == 0
        with pytest.raises(RunNotFound):
            await engine.queue.get(run.thread_id, run.run_id)
    else:
        assert await checkpoints_of(lab, run) > 0
        assert (await engine.queue.get(run.thread_id, run.run_id)).status is RunStatus.INTERRUPTED
    assert await lab.rows("select run_id, inflight, cancel from thread_heads") == [(None, 0, None)]


@pytest.mark.parametrize("action", list(CancelAction))
async def test_a_request_whose_worker_dies_before_it_hears_of_it_is_carried_out_by_the_takeover(
    lab: Laboratory, action: CancelAction
) -> None:
    door = await lab.open(executes=False)
    doomed = await lab.start()
    folder = lab.make_folder()
    run = await start(lab, door, folder)
    doomed.signal(signal.SIGSTOP)  # so that it cannot carry the request out itself
    await door.queue.cancel(run.thread_id, run.run_id, action)
    doomed.kill()
    open_gate(folder, "b")
    survivor = await lab.open()
    await lab.make_steady()
    await door.tails.result(run)
    await assert_stopped(lab, survivor, run, action)
    assert trace(folder) == {"a started": 1, "a done": 1, "b started": 1}
    assert [read(event)["attempt"] for event in await lab.log(run.thread_id) if event.name == "metadata"] == [1]
    again = await lab.run(survivor, "line", run.thread_id, **given(lab.make_folder()))
    assert again.status is RunStatus.SUCCESS


@pytest.mark.parametrize("action", list(CancelAction))
@pytest.mark.parametrize("far", [False, True], ids=["asked here", "asked elsewhere"])
async def test_a_running_run_is_stopped_and_its_work_kept_or_undone(
    lab: Laboratory, action: CancelAction, far: bool
) -> None:
    worker = await lab.open()
    door = await lab.open(executes=False) if far else worker
    before = await lab.run(worker, "line", **given(lab.make_folder()))
    folder = lab.make_folder()
    run = await start(lab, worker, folder, before)
    await door.queue.cancel(run.thread_id, run.run_id, action)
    body = await door.tails.result(run)
    await assert_stopped(lab, worker, run, action)
    state = await worker.states.get(run.thread_id)
    kept = ["a", "b", "c"] if action is ROLLBACK else ["a", "b", "c", "a"]
    assert state["values"]["log"] == kept
    assert (await lab.values(run.thread_id))["log"] == kept
    assert body is not None
    assert (await worker.threads.get(run.thread_id)).status == ("idle" if action is ROLLBACK else "interrupted")
    open_gate(folder, "b")
    assert trace(folder)["b done"] == 0


@pytest.mark.parametrize("action", list(CancelAction))
async def test_a_pending_run_is_final_at_once(lab: Laboratory, action: CancelAction) -> None:
    engine = await lab.open()
    folder = lab.make_folder()
    active = await start(lab, engine, folder)
    pending = await engine.queue.create(lab.request("line", active.thread_id, **given(lab.make_folder())))
    await engine.queue.cancel(pending.thread_id, pending.run_id, action)
    assert await names(lab, pending) == [".event/lifecycle", ".run_ended"]
    assert await lab.status(pending) == (None if action is ROLLBACK else "interrupted")
    assert await lab.status(active) == "running"
    open_gate(folder, "b")
    await engine.tails.result(active)
    assert await lab.status(active) == "success"
    assert await lab.value("select count(*) from runs where attempt > 0") == 1
    with pytest.raises(NothingToCancel):
        await engine.queue.cancel(pending.thread_id, pending.run_id, action)


async def test_a_rollback_that_was_asked_for_stays_one(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    worker = await lab.start()
    run = await start(lab, door, lab.make_folder())
    worker.signal(signal.SIGSTOP)
    await door.queue.cancel(run.thread_id, run.run_id, ROLLBACK)
    await door.queue.cancel(run.thread_id, run.run_id, INTERRUPT)
    worker.signal(signal.SIGCONT)
    await door.tails.result(run)
    assert await checkpoints_of(lab, run) == 0


@pytest.mark.parametrize("strategy", [MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK])
async def test_a_run_that_takes_anothers_place_stops_it_and_what_waits_behind_it(
    lab: Laboratory, strategy: MultitaskStrategy
) -> None:
    engine = await lab.open()
    folder, new_folder = lab.make_folder(), lab.make_folder()
    active = await start(lab, engine, folder)
    waiting = [
        await engine.queue.create(lab.request("line", active.thread_id, **given(lab.make_folder()))) for _ in range(2)
    ]
    request = lab.request("line", active.thread_id, **given(new_folder), multitask_strategy=strategy)
    new = await engine.queue.create(request)
    await engine.tails.result(new)
    assert await lab.status(new) == "success"
    gone = None if strategy is MultitaskStrategy.ROLLBACK else "interrupted"
    assert [await lab.status(run) for run in (active, *waiting)] == [gone] * 3
    for run in (active, *waiting):
        assert (await names(lab, run))[-1] == ".run_ended"
    log = (await lab.values(active.thread_id))["log"]
    assert log == (["a", "b", "c"] if gone is None else ["a", "a", "b", "c"])
    assert set(trace(new_folder).values()) == {1}


@pytest.mark.parametrize("action", list(CancelAction))
async def test_of_a_finish_and_a_cancel_at_once_exactly_one_wins(lab: Laboratory, action: CancelAction) -> None:
    """Again and again, without any order between them: either the run is done, or it was stopped; never both."""
    engine = await lab.open()
    outcomes = set()
    for number in range(24):
        folder = lab.make_folder()
        run = await engine.queue.create(lab.request("line", **given(folder, "c")))
        await lab.until_traced(folder, "c started")
        open_gate(folder, "c")
        if number % 2:
            await until(lambda folder=folder: trace(folder)["c done"], "the last node is done")  # type: ignore[misc]  # a default in a lambda
        for _ in range(number % 4):
            await asyncio.sleep(0.001)
        try:
            await engine.queue.cancel(run.thread_id, run.run_id, action)
            cancelled = True
        except NothingToCancel:
            cancelled = False
        await engine.tails.result(run)
        logged = await names(lab, run)
        assert logged.count(".run_ended") == 1
        assert logged[-1] == ".run_ended"
        status = await lab.status(run)
        assert status == ("success" if not cancelled else None if action is ROLLBACK else "interrupted")
        outcomes.add(cancelled)
    assert True in outcomes


async def test_an_answer_is_undone_with_the_run_that_gave_it(lab: Laboratory) -> None:
    """A rolled back resume leaves the question open, and the next answer is the one that counts."""
    engine = await lab.open()
    folder = lab.make_folder()
    asked = await lab.run(engine, "asking", **given(folder, "ask", "b"))
    resume = lab.request("asking", asked.thread_id, command={"resume": "first"})
    run = await engine.queue.create(resume)
    await lab.until_traced(folder, "ask answered")
    open_gate(folder, "ask")
    await lab.until_traced(folder, "b started")
    await engine.queue.cancel(run.thread_id, run.run_id, ROLLBACK)
    await engine.tails.result(run)
    thread = await engine.threads.get(asked.thread_id)
    assert thread.status == "interrupted"
    assert [question["value"] for each in thread.interrupts.values() for question in each] == [{"asks": "ask"}]
    open_gate(folder, "b")
    again = await lab.run(engine, "asking", asked.thread_id, command={"resume": "second"})
    assert again.status is RunStatus.SUCCESS
    assert (await lab.values(asked.thread_id))["log"] == ["a", "ask=second", "b"]


@pytest.mark.parametrize("cancelled", [True, False], ids=["asked to stop", "failed too often"])
async def test_a_dead_workers_run_whose_state_cannot_be_read_is_ended_all_the_same(
    lab: Laboratory, cancelled: bool
) -> None:
    """Its graph's factory raises for everybody but a run: neither the others nor the process may suffer for that."""
    door = await lab.open(executes=False)
    doomed = await lab.start()
    folder, other_folder = lab.make_folder(), lab.make_folder()
    run = await door.queue.create(lab.request("broken_factory", **given(folder, "b")))
    other = await start(lab, door, other_folder)
    await lab.until_traced(folder, "b started")
    doomed.signal(signal.SIGSTOP)
    if cancelled:
        await door.queue.cancel(run.thread_id, run.run_id, INTERRUPT)
    await door.queue.cancel(other.thread_id, other.run_id, INTERRUPT)
    doomed.kill()
    await lab.open(max_attempts=5 if cancelled else 1)
    await lab.make_steady()
    assert await lab.until_status(other, "interrupted") == "interrupted"
    assert await lab.until_status(run, "interrupted", "error") == ("interrupted" if cancelled else "error")
    assert (await names(lab, run))[-1] == ".run_ended"
