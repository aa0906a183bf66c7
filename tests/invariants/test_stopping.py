"""Invariant 4: a refused write stops the run at once, from outside."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from threadline.runs.model import Run
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.proxy import open_proxy

LOOK = "left join thread_heads h on h.thread_id = m.thread_id"  # of the worker, for what became of its runs


def given(folder: Path, *gates: str) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": []}}


async def lose_the_fence(lab: Laboratory, run: Run) -> None:
    """As a takeover does; but nobody goes on with the run, so that what it does is its own."""
    await lab.rows("update thread_heads set epoch = epoch + 1 where thread_id = %s", run.thread_id)


async def test_a_run_whose_put_is_refused_stops_before_it_comes_to_another_node(lab: Laboratory) -> None:
    """With durability async LangGraph would go on to its end and only then look at what became of its writes."""
    engine = await lab.open(poll=lab.never)
    await run_without_fence(lab, engine, "line", "async")


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("graph_id", ["retrying", "swallowing"])
async def test_neither_a_retry_policy_nor_a_node_that_swallows_errors_keeps_it_going(
    lab: Laboratory, graph_id: str, durability: str
) -> None:
    engine = await lab.open(poll=lab.never)
    await run_without_fence(lab, engine, graph_id, durability)


async def run_without_fence(lab: Laboratory, engine: Any, graph_id: str, durability: str) -> None:
    """Take the fence away while the second node works, and hold the third at its gate."""
    folder = lab.make_folder()
    second = "stubborn" if graph_id == "swallowing" else "b"
    request = lab.request(graph_id, **given(folder, second, "c"), durability=durability)
    run = await engine.queue.create(request)
    await lab.until_traced(folder, f"{second} started")
    await until(lambda: written(lab), "what the first node led to is written")
    before = await lab.rows("select checkpoint_id from checkpoints order by 1")
    await lose_the_fence(lab, run)
    open_gate(folder, second)
    await until(lambda: not running_tasks(run), "the run has stopped")
    open_gate(folder, "c")
    seen = trace(folder)
    assert seen["c done"] == seen["d started"] == seen["d done"] == 0
    assert await lab.rows("select checkpoint_id from checkpoints order by 1") == before
    assert await lab.status(run) == "running"  # it is for its new owner to say how it ends


async def written(lab: Laboratory) -> bool:
    """The input's checkpoint, the start's and the first node's."""
    return bool(await lab.value("select count(*) = 3 from checkpoints"))


def running_tasks(run: Run) -> list[str]:
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name in (f"run/{run.run_id}", f"execution/{run.run_id}")]


async def test_a_run_that_writes_nothing_for_long_is_stopped_when_its_thread_is_taken(lab: Laboratory) -> None:
    """The worker looks at its runs' heads once a poll."""
    engine = await lab.open()
    folder = lab.make_folder()
    run = await engine.queue.create(lab.request("line", **given(folder, "b")))
    await lab.until_traced(folder, "b started")
    await lose_the_fence(lab, run)
    await until(lambda: not running_tasks(run), "the run has stopped")
    assert trace(folder)["b done"] == 0


async def test_news_of_a_lost_attempt_does_not_stop_the_next_one_of_the_same_process(lab: Laboratory) -> None:
    """The worker asks about its attempts; by the time the answer comes it may have claimed the run again."""
    async with open_proxy(lab.dsn) as proxy:
        engine = await lab.open(proxy.conninfo)
        folder = lab.make_folder()
        run = await engine.queue.create(lab.request("line", **given(folder, "b")))
        await lab.until_traced(folder, "b started")
        proxy.hold(LOOK)
        engine.worker.look_for_cancels()
        await until(lambda: proxy.held, "the worker asks about its first attempt")
        await lose_the_fence(lab, run)
        await lab.rows("update thread_heads set run_id = null where thread_id = %s", run.thread_id)
        await lab.rows("update runs set status = 'pending' where run_id = %s", run.run_id)
        engine.worker.wake()
        await until(lambda: trace(folder)["b started"] == 2, "it is at work on the second")
        proxy.release()
        await until(lambda: len(running_tasks(run)) == 2, "the first has stopped")
        open_gate(folder, "b")
        await engine.tails.result(run)
        await lab.exit()
    assert await lab.rows("select status, attempt from runs where run_id = %s", run.run_id) == [("success", 2)]


async def test_a_node_that_tidies_up_is_not_cancelled_again_each_time_its_worker_looks(lab: Laboratory) -> None:
    async with open_proxy(lab.dsn) as proxy:
        engine = await lab.open(proxy.conninfo, poll=lab.never)
        folder = lab.make_folder()
        run = await engine.queue.create(lab.request("tidying", **given(folder, "tidy", "tidying")))
        await lab.until_traced(folder, "tidy started")
        await lose_the_fence(lab, run)
        engine.worker.look_for_cancels()
        await lab.until_traced(folder, "tidy cancelled")
        for _ in range(2):  # it asks once more when it has dealt with the answer before
            proxy.hold(LOOK)
            engine.worker.look_for_cancels()
            await until(lambda: proxy.held, "the worker looks again")
            proxy.release()
        open_gate(folder, "tidying")
        await until(lambda: not running_tasks(run), "the run has stopped")
        await lab.exit()
    assert trace(folder)["tidy tidied"] == 1


async def test_a_run_whose_thread_is_deleted_stops(lab: Laboratory) -> None:
    engine = await lab.open()
    folder = lab.make_folder()
    run = await engine.queue.create(lab.request("line", **given(folder, "b")))
    await lab.until_traced(folder, "b started")
    await engine.threads.delete(run.thread_id)
    await until(lambda: not running_tasks(run), "the run has stopped")
    open_gate(folder, "b")
    for table in ("runs", "run_events", "checkpoints", "checkpoint_writes", "checkpoint_blobs", "thread_heads"):
        assert await lab.value(f"select count(*) from {table}") == 0
