"""Each way a run can end, and each way it goes on: one test of each name in docs/life-of-a-run.md."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from threadline.checkpoints.pool import Database
from threadline.graphs.registry import Registry
from threadline.runs import recorder
from threadline.runs.errors import NothingToCancel, RunNotFound, ThreadBusy
from threadline.runs.model import CancelAction, MultitaskStrategy, Run
from threadline.runs.sweep import Sweep
from threadline.tests.laboratory.places import plain_of
from threadline.tests.runs.life_world import World, eventually, load_graphs, open_world


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return load_graphs(tmp_path)


@pytest.fixture
async def world(database: Database, registry: Registry) -> AsyncIterator[World]:
    async with open_world(database, registry) as opened:
        yield opened


def kill_worker_of(database: Database, run: Run) -> None:
    """Let the run belong to a process that died, in one moment: its lease has passed and it never writes again."""
    with psycopg.connect(plain_of(database)) as connection:
        connection.execute("update runs set process_id = %s where run_id = %s", [uuid4(), run.run_id])
        connection.execute("update thread_heads set epoch = epoch + 1 where thread_id = %s", [run.thread_id])


async def test_a_run_that_reaches_the_end_of_its_graph_is_a_success(world: World) -> None:
    run = await world.start("steps")
    assert await world.answer(run) == {"log": ["in", "first", "second"]}
    assert (await world.status(run), await world.thread_status(run)) == ("success", "idle")


async def test_a_run_that_asks_a_question_is_a_success_on_an_interrupted_thread(world: World) -> None:
    run = await world.start("asking")
    answer = await world.answer(run)
    assert [question["value"] for question in answer["__interrupt__"]] == ["go on?"]
    thread = await world.engine.threads.get(run.thread_id)
    assert (await world.status(run), thread.status) == ("success", "interrupted")
    assert [i["value"] for asked in thread.interrupts.values() for i in asked] == ["go on?"]


async def test_an_answered_question_lets_the_next_run_finish(world: World) -> None:
    asked = await world.start("asking")
    await world.answer(asked)
    request = world.ask_for("asking", thread_id=asked.thread_id, kwargs={"command": {"resume": "yes"}})
    run = await world.engine.queue.create(request)
    assert await world.answer(run) == {"log": ["in", "first", "answered yes"]}
    assert await world.thread_status(run) == "idle"


async def test_a_run_that_meets_a_breakpoint_is_a_success_on_an_interrupted_thread(world: World) -> None:
    run = await world.start("steps", kwargs={"interrupt_before": ["second"], "input": {"log": ["in"]}})
    assert await world.answer(run) == {"log": ["in", "first"]}
    assert (await world.status(run), await world.thread_status(run)) == ("success", "interrupted")


async def test_a_run_whose_node_raises_is_an_error(world: World) -> None:
    run = await world.start("failing")
    assert await world.answer(run) == {"__error__": {"error": "ValueError", "message": "kaboom"}}
    thread = await world.engine.threads.get(run.thread_id)
    assert (await world.status(run), thread.status, thread.error) == (
        "error",
        "error",
        {"error": "ValueError", "message": "kaboom"},
    )
    assert thread.values == {"log": ["in", "first"]}


async def test_a_run_that_passes_its_recursion_limit_is_an_error(world: World) -> None:
    run = await world.start("looping", kwargs={"config": {"recursion_limit": 3}, "input": {"log": ["in"]}})
    assert (await world.answer(run))["__error__"]["error"] == "GraphRecursionError"
    assert await world.status(run) == "error"


async def test_a_run_whose_state_cannot_be_stored_is_an_error(world: World) -> None:
    run = await world.start("unstorable")
    error = (await world.answer(run))["__error__"]
    assert error["error"] == "TypeError"
    assert "object" in error["message"]
    assert (await world.status(run), await world.thread_status(run)) == ("error", "error")


async def test_a_run_of_a_graph_that_cannot_be_imported_is_an_error_that_names_the_line(world: World) -> None:
    run = await world.start("broken")
    error = (await world.answer(run))["__error__"]
    assert error["error"] == "GraphImportError"
    assert "broken.py" in error["message"]
    assert "line 1" in error["message"]


async def test_a_run_that_takes_too_long_is_a_timeout(database: Database, registry: Registry) -> None:
    async with open_world(database, registry, run_timeout=timedelta(seconds=0.3)) as world:
        run = await world.start("waiting")
        assert (await world.answer(run))["__error__"]["error"] == "TimeoutError"
        assert (await world.status(run), await world.thread_status(run)) == ("timeout", "error")


async def test_a_run_that_is_cancelled_keeps_its_progress(world: World) -> None:
    run = await world.start("waiting")
    await world.reach(run, ".node_started", 2)
    await world.engine.queue.cancel(run.thread_id, run.run_id, CancelAction.INTERRUPT)
    assert await world.answer(run) == {"log": ["in", "first"]}
    assert (await world.status(run), await world.thread_status(run)) == ("interrupted", "interrupted")
    assert (await world.engine.states.get(run.thread_id))["next"] == ["wait_for_ever"]


async def test_a_run_that_is_cancelled_before_it_starts_never_runs(world: World) -> None:
    run = await world.start("steps", delay=timedelta(hours=1))
    await world.engine.queue.cancel(run.thread_id, run.run_id, CancelAction.INTERRUPT)
    assert await world.answer(run) == {}
    assert (await world.status(run), await world.thread_status(run)) == ("interrupted", "idle")
    assert [event.name for event in await world.events(run.thread_id)] == [".event/lifecycle", ".run_ended"]


async def test_a_run_that_is_rolled_back_leaves_only_its_events(world: World) -> None:
    before = await world.start("steps")
    values = await world.answer(before)
    run = await world.start("waiting", thread_id=before.thread_id)
    await world.reach(run, ".node_started", 2)
    await world.engine.queue.cancel(run.thread_id, run.run_id, CancelAction.ROLLBACK)
    assert await world.answer(run) == values
    with pytest.raises(RunNotFound):
        await world.status(run)
    assert (await world.engine.threads.get(run.thread_id)).values == values
    assert (await world.engine.states.get(run.thread_id))["values"] == values
    assert (await world.events(run.thread_id))[-1].name == ".run_ended"


async def test_a_rolled_back_answer_leaves_the_question_open(world: World) -> None:
    asked = await world.start("answering")
    await world.answer(asked)
    state = await world.engine.states.get(asked.thread_id)
    request = world.ask_for("answering", thread_id=asked.thread_id, kwargs={"command": {"resume": "yes"}})
    run = await world.engine.queue.create(request)
    await world.reach(run, ".node_finished", 1)
    await world.engine.queue.cancel(run.thread_id, run.run_id, CancelAction.ROLLBACK)
    await world.answer(run)
    assert await world.engine.states.get(asked.thread_id) == state
    assert await world.thread_status(asked) == "interrupted"


async def test_a_run_that_is_rolled_back_before_it_starts_is_gone(world: World) -> None:
    run = await world.start("steps", delay=timedelta(hours=1))
    await world.engine.queue.cancel(run.thread_id, run.run_id, CancelAction.ROLLBACK)
    with pytest.raises(RunNotFound):
        await world.status(run)
    assert await world.thread_status(run) == "idle"


@pytest.mark.parametrize("strategy", [MultitaskStrategy.INTERRUPT, MultitaskStrategy.ROLLBACK])
async def test_a_run_gives_way_to_one_that_wants_its_place(world: World, strategy: MultitaskStrategy) -> None:
    old = await world.start("waiting")
    await world.reach(old, ".node_started", 2)
    new = await world.start("steps", thread_id=old.thread_id, multitask_strategy=strategy)
    kept = ["in", "first"] if strategy is MultitaskStrategy.INTERRUPT else []
    assert await world.answer(new) == {"log": [*kept, "in", "first", "second"]}
    assert await world.status(new) == "success"


async def test_a_run_that_wants_to_be_alone_is_refused_beside_another(world: World) -> None:
    old = await world.start("waiting")
    with pytest.raises(ThreadBusy):
        await world.start("steps", thread_id=old.thread_id, multitask_strategy=MultitaskStrategy.REJECT)
    assert len(await world.engine.queue.list(old.thread_id)) == 1


async def test_a_queued_run_starts_when_the_one_before_it_ends(world: World) -> None:
    first = await world.start("waiting")
    second = await world.start("steps", thread_id=first.thread_id)
    assert second.status == "pending"
    await world.engine.queue.cancel(first.thread_id, first.run_id, CancelAction.INTERRUPT)
    assert (await world.answer(second))["log"][-1] == "second"


async def test_a_final_run_cannot_be_cancelled(world: World) -> None:
    run = await world.start("steps")
    await world.answer(run)
    with pytest.raises(NothingToCancel, match="its status is success"):
        await world.engine.queue.cancel(run.thread_id, run.run_id, CancelAction.INTERRUPT)


async def test_a_run_whose_worker_died_goes_on_with_the_next_attempt(world: World) -> None:
    run = await world.start("waiting")
    await world.reach(run, ".node_started", 2)
    kill_worker_of(world.database, run)
    await world.reach(run, "metadata", 2)
    names = [event.name for event in await world.events(run.thread_id)]
    assert names.count(".node_finished") == 1


async def test_a_cancel_outlives_the_worker_that_should_have_carried_it_out(world: World) -> None:
    run = await world.start("waiting")
    await world.reach(run, ".node_started", 2)
    with psycopg.connect(plain_of(world.database)) as connection:
        connection.execute("update thread_heads set cancel = 'interrupt' where thread_id = %s", [run.thread_id])
        connection.execute("update thread_heads set epoch = epoch + 1 where thread_id = %s", [run.thread_id])
        connection.execute("update runs set process_id = %s where run_id = %s", [uuid4(), run.run_id])
    assert await world.answer(run) == {"log": ["in", "first"]}
    assert await world.status(run) == "interrupted"
    assert [event.name for event in await world.events(run.thread_id)].count("metadata") == 1


async def test_a_run_that_takes_every_worker_with_it_is_an_error(world: World) -> None:
    run = await world.start("waiting")
    for attempt in range(1, 4):
        await world.reach(run, "metadata", attempt)
        kill_worker_of(world.database, run)
    error = (await world.answer(run))["__error__"]
    assert error["error"] == "TooManyAttempts"
    assert "died 3 times" in error["message"]
    assert await world.status(run) == "error"


async def test_a_run_that_floods_its_log_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limit, made small enough for a test: the run emits 200 MB at one go.
    monkeypatch.setattr(recorder, "MAX_PENDING_BYTES", 20_000_000)
    run = await world.start("flooding", kwargs={"stream_mode": ["custom"]})
    assert (await world.answer(run))["__error__"]["error"] == "BacklogError"


async def test_a_run_of_a_deleted_thread_ends_without_a_trace(world: World) -> None:
    run = await world.start("waiting")
    await world.reach(run, ".node_started", 2)
    waiting = asyncio.create_task(world.answer(run))
    await world.engine.threads.delete(run.thread_id)
    assert await waiting is None
    with psycopg.connect(plain_of(world.database), autocommit=True) as connection:

        async def is_gone() -> bool:
            tables = ("runs", "run_events", "thread_heads", "threads")
            counts = [connection.execute(f"select count(*) from {table}").fetchone() for table in tables]
            return all(count == (0,) for count in counts)

        await eventually(is_gone)


async def test_a_deleted_run_is_stopped_first(world: World) -> None:
    run = await world.start("waiting")
    await world.reach(run, ".node_started", 2)  # one that still waits for a place leaves its thread as it was
    await world.engine.queue.delete(run.thread_id, run.run_id)
    with pytest.raises(RunNotFound):
        await world.status(run)
    assert await world.thread_status(run) == "interrupted"


async def test_a_stopping_worker_hands_its_runs_back(database: Database, registry: Registry) -> None:
    async with open_world(database, registry, drain=timedelta(seconds=0.6)) as world:
        run = await world.start("waiting")
        await world.reach(run, ".node_started", 2)
    with psycopg.connect(plain_of(database)) as connection:
        row = connection.execute("select status, attempt, failures from runs").fetchone()
    assert row == ("pending", 1, 0)
    async with open_world(database, registry) as world:
        await world.reach(run, "metadata", 2)


async def test_the_thread_of_a_stateless_run_is_swept(world: World) -> None:
    kept = await world.start("steps")
    run = await world.start("steps", hidden_thread=True)
    await world.answer(kept)
    await world.answer(run)
    threads: list[UUID] = [thread.thread_id for thread in await world.engine.threads.search()]
    assert threads == [kept.thread_id]
    with psycopg.connect(plain_of(world.database), autocommit=True) as connection:
        row = connection.execute(
            "select expires_at > clock_timestamp() from threads where thread_id = %s", [run.thread_id]
        ).fetchone()
        assert row == (True,)
        connection.execute("update threads set expires_at = clock_timestamp() where hidden")
        await Sweep(world.engine.pool).sweep()
        for table in ("threads", "thread_heads", "runs", "run_events", "checkpoints", "checkpoint_blobs"):
            rows = connection.execute(f"select distinct thread_id::text from {table}").fetchall()
            assert rows == [(str(kept.thread_id),)]
