"""Invariant 1, the ends: whatever a run does, it ends, and says how."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from threadline.runs.model import Run, RunStatus
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, read, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.stories import reports

DURABILITIES = ["sync", "async", "exit"]


def given(folder: Any, *gates: str, **values: Any) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": [], **values}}


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize(
    ("graph_id", "values"),
    [("giving", {"value": [2**70]}), ("opaque", {}), ("nul_channel", {}), ("surrogate_channel", {})],
    ids=["input that no checkpoint can hold", "value without a form", "NUL in a name", "half a character in a name"],
)
async def test_what_cannot_be_stored_ends_its_run_with_the_reason_and_no_other(
    lab: Laboratory, graph_id: str, values: dict[str, Any], durability: str
) -> None:
    engine = await lab.open()
    folder, other_folder = lab.make_folder(), lab.make_folder()
    beside = await engine.queue.create(lab.request("line", **given(other_folder, "b")))
    run = await lab.run(engine, graph_id, **given(folder, **values), durability=durability)
    assert run.status is RunStatus.ERROR
    assert run.error
    assert run.error["message"]
    thread = await engine.threads.get(run.thread_id)
    assert thread.status == "error"
    events = await lab.log(run.thread_id)
    assert [event.name for event in events][-2:] == ["error", ".run_ended"]
    assert read(events[-1]) == {"__error__": run.error}
    if durability == "sync":  # otherwise nodes may run ahead of what is stored
        assert "c done" not in trace(folder)
    open_gate(other_folder, "b")
    assert await lab.until_status(beside, "success", "error") == "success"


@pytest.mark.parametrize("graph_id", ["line", "hogging"])
async def test_a_run_beyond_its_time_ends_with_timeout(lab: Laboratory, graph_id: str) -> None:
    """Also one that does not let go of the interpreter, once it does."""
    engine = await lab.open(run_timeout=timedelta(seconds=0.5))
    folder = lab.make_folder()
    run = await lab.run(engine, graph_id, **given(folder, "b", value=1.0))
    assert run.status is RunStatus.TIMEOUT
    assert run.error is not None
    assert run.error["error"] == "TimeoutError"
    assert trace(folder)["c started"] == 0
    assert [event.name for event in await lab.log(run.thread_id)][-2:] == ["error", ".run_ended"]
    again = await lab.run(engine, "line", run.thread_id, **given(lab.make_folder()))
    assert again.status is RunStatus.SUCCESS


async def test_a_run_that_kills_its_process_each_time_is_given_up_with_the_reason(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    folder, other_folder = lab.make_folder(), lab.make_folder()
    run = await door.queue.create(lab.request("dying", **given(folder), durability="sync"))
    for attempt in (1, 2):
        process = await lab.start(max_attempts=3)
        await lab.make_steady()
        await asyncio.to_thread(process.join, 20)
        assert not process.is_alive
        assert trace(folder)["die started"] == attempt
    # The last one finds that it would be the third time, once it has died for it.
    process = await lab.start(max_attempts=3)
    await lab.make_steady()
    await asyncio.to_thread(process.join, 20)
    survivor = await lab.open(max_attempts=3)
    await lab.make_steady()
    body = await survivor.tails.result(run)
    ended = await door.queue.get(run.thread_id, run.run_id)
    assert ended.status is RunStatus.ERROR
    assert (ended.attempt, ended.failures) == (3, 3)
    assert ended.error is not None
    assert ended.error["error"] == "TooManyAttempts"
    assert body is not None
    assert b"TooManyAttempts" in body
    assert trace(folder) == {"a started": 1, "a done": 1, "die started": 3}
    other = await lab.run(survivor, "line", run.thread_id, **given(other_folder))
    assert other.status is RunStatus.SUCCESS


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_run_handed_back_by_a_stopping_process_has_not_failed(lab: Laboratory, durability: str) -> None:
    door = await lab.open(executes=False)
    folder = lab.make_folder()
    run = await door.queue.create(lab.request("line", **given(folder, "b"), durability=durability))
    for attempt in (1, 2, 3):
        process = await lab.start(max_attempts=2, drain=timedelta(seconds=0.3))
        await until(lambda attempt=attempt: trace(folder)["b started"] == attempt, "it waits")  # type: ignore[misc]  # a default in a lambda
        await until(lambda: written(lab, run), "what led to it is written")
        await asyncio.to_thread(process.stop)
        handed_back = await door.queue.get(run.thread_id, run.run_id)
        assert (handed_back.status, handed_back.attempt, handed_back.failures) == (RunStatus.PENDING, attempt, 0)
    open_gate(folder, "b")
    worker = await lab.open(max_attempts=2)
    await worker.tails.result(run)
    ended = await door.queue.get(run.thread_id, run.run_id)
    assert (ended.status, ended.attempt, ended.failures) == (RunStatus.SUCCESS, 4, 0)
    assert trace(folder)["a done"] == trace(folder)["c done"] == 1
    calm = await lab.run(worker, "line", **given(lab.make_folder()))
    assert reports(await lab.log(run.thread_id)) == reports(await lab.log(calm.thread_id))


async def written(lab: Laboratory, run: Run) -> bool:
    count = "select count(*) = 3 from checkpoints where thread_id = %s"
    return bool(await lab.value(count, str(run.thread_id)))


async def test_a_stopping_process_lets_short_runs_finish_and_long_ones_come_to_a_superstep(lab: Laboratory) -> None:
    folders = {name: lab.make_folder() for name in ("short", "long")}
    process = await lab.start(drain=timedelta(seconds=3))
    door = await lab.open(executes=False)
    short = await door.queue.create(lab.request("line", **given(folders["short"], "c")))
    long = await door.queue.create(lab.request("line", **given(folders["long"], "b")))
    await lab.until_traced(folders["short"], "c started")
    await lab.until_traced(folders["long"], "b started")
    open_gate(folders["short"], "c")
    await asyncio.to_thread(process.stop)
    assert await lab.status(short) == "success"
    assert await lab.status(long) == "pending"
    open_gate(folders["long"], "b")
    worker = await lab.open()
    await worker.tails.result(long)
    assert trace(folders["long"])["b started"] == 2  # it did not come to its superstep's end in time
    assert trace(folders["long"])["a done"] == 1


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_one_run_of_a_hundred_whose_value_the_database_refuses_is_the_only_one_to_fail(
    lab: Laboratory, durability: str
) -> None:
    await lab.rows(
        "alter table checkpoint_blobs add constraint no_poison check (position('poison'::bytea in blob) = 0)"
    )
    engine = await lab.open(concurrency=100)
    folder = lab.make_folder()
    requests = [
        lab.request("giving", **given(folder, value=["poison" if number == 42 else "fine"]), durability=durability)
        for number in range(100)
    ]
    runs = await asyncio.gather(*map(engine.queue.create, requests))
    await asyncio.gather(*map(engine.tails.result, runs))
    statuses = [(await engine.queue.get(run.thread_id, run.run_id)).status for run in runs]
    assert [number for number, status in enumerate(statuses) if status is not RunStatus.SUCCESS] == [42]
    poisoned = await engine.queue.get(runs[42].thread_id, runs[42].run_id)
    assert poisoned.status is RunStatus.ERROR
    assert poisoned.error is not None
    assert poisoned.error["error"] == "CheckViolation"
    for run in runs:
        assert (await lab.log(run.thread_id))[-1].name == ".run_ended"
