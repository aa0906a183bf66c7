"""Invariant 16: nothing is unbounded, and each limit has a defined behaviour."""

import asyncio
import tracemalloc
from datetime import timedelta
from typing import Any

import orjson
import pytest

from threadline.runs import recorder, sweep
from threadline.runs.errors import Invalid, TooManyPending
from threadline.runs.identity import uuid7
from threadline.runs.model import LogRow, RunStatus
from threadline.runs.subscription import RECENT_BYTES, RECENT_THREADS, RECENT_TOTAL, RecentRows
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.proxy import open_proxy

FLUSH = "insert into checkpoints"
MEGABYTE = 1024 * 1024


def given(folder: Any, *gates: str, **values: Any) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": [], **values}}


async def test_a_flood_of_events_while_the_database_is_away_ends_its_run_and_no_other(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_PENDING_BYTES", 4 * MEGABYTE)
    async with open_proxy(lab.dsn) as proxy:
        engine = await lab.open(proxy.conninfo)
        folder, other_folder = lab.make_folder(), lab.make_folder()
        other = await engine.queue.create(lab.request("line", **given(other_folder, "b")))
        await lab.until_traced(other_folder, "b started")
        run = await engine.queue.create(lab.request("flooding", **given(folder, "flood")))
        await lab.until_traced(folder, "flood started")
        proxy.hold(FLUSH)
        open_gate(folder, "flood")
        await until(lambda: not runs_still(run.run_id), "the flood is stopped, while nothing can be written")
        proxy.release()
        open_gate(other_folder, "b")
        await engine.tails.result(other)
        await engine.tails.result(run)
        await lab.exit()
    assert await lab.status(other) == "success"
    ended = (await lab.rows("select status, error from runs where run_id = %s", run.run_id))[0]
    assert (ended[0], ended[1]["error"]) == ("error", "BacklogError")
    size = await lab.value("select sum(octet_length(payload)) from run_events where run_id = %s", run.run_id)
    # It is stopped at its next turn of the loop, and what it had said by then is kept.
    assert 3 * MEGABYTE < size < 12 * MEGABYTE


def runs_still(run_id: Any) -> bool:
    return f"run/{run_id}" in {task.get_name() for task in asyncio.all_tasks()}


async def test_beyond_the_limit_of_waiting_runs_new_ones_are_refused_until_there_is_room(lab: Laboratory) -> None:
    door = await lab.open(executes=False, max_pending_runs=5)

    async def refusal() -> TooManyPending | None:
        try:
            await door.queue.create(lab.request("line", **given(lab.folder)))
        except TooManyPending as error:
            return error
        return None

    refused = await until(refusal, "there is no room any more")
    assert refused.retry_after >= 1
    assert await lab.value("select count(*) from runs") >= 5
    await lab.open()

    async def all_final() -> bool:
        return bool(await lab.value("select bool_and(status = 'success') from runs"))

    await until(all_final, "what was accepted has run")

    async def accepts() -> bool:
        return await refusal() is None

    await until(accepts, "there is room again")


async def test_the_limit_of_waiting_runs_holds_within_a_burst_and_for_many_at_once(lab: Laboratory) -> None:
    door = await lab.open(executes=False, max_pending_runs=5)
    with pytest.raises(Invalid, match="more than may ever wait"):
        await door.queue.create_all([lab.request("line", **given(lab.folder)) for _ in range(6)])
    assert len(await door.queue.create_all([lab.request("line", **given(lab.folder)) for _ in range(3)])) == 3
    with pytest.raises(TooManyPending):
        await door.queue.create_all([lab.request("line", **given(lab.folder)) for _ in range(3)])
    assert await lab.value("select count(*) from runs") == 3
    # All within the second that a count is good for.
    for _ in range(2):
        await door.queue.create(lab.request("line", **given(lab.folder)))
    with pytest.raises(TooManyPending):
        await door.queue.create(lab.request("line", **given(lab.folder)))
    assert await lab.value("select count(*) from runs") == 5


async def test_a_process_takes_no_more_runs_than_it_has_places(lab: Laboratory) -> None:
    engine = await lab.open(concurrency=3)
    folder = lab.make_folder()
    runs = [await engine.queue.create(lab.request("line", **given(folder, "b"))) for _ in range(8)]

    async def three_wait() -> bool:
        return trace(folder)["b started"] == 3

    await until(three_wait, "three runs wait at their gate")
    assert await lab.value("select count(*) from runs where status = 'running'") == 3
    open_gate(folder, "b")
    for run in runs:
        await engine.tails.result(run)
    assert trace(folder)["c done"] == 8


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_run_with_one_place_for_its_tasks_ends(lab: Laboratory, durability: str) -> None:
    """With `max_concurrency` LangGraph asks about a write long after it was made, and committed."""
    engine = await lab.open()
    how: dict[str, Any] = {"config": {"max_concurrency": 1}, "durability": durability, "subgraphs": True}
    for graph_id in ("fork", "nested", "asking_twice"):
        folder = lab.make_folder()
        run = await engine.queue.create(lab.request(graph_id, **given(folder), **how))
        async with asyncio.timeout(10):
            await engine.tails.result(run)
        assert await lab.status(run) == "success"


async def test_a_value_of_many_megabytes_holds_up_no_other_run(lab: Laboratory) -> None:
    engine = await lab.open()
    large = await engine.queue.create(lab.request("giving", **given(lab.folder, value="x" * (6 * MEGABYTE))))
    small = [await engine.queue.create(lab.request("line", **given(lab.folder))) for _ in range(5)]
    for run in small:
        await engine.tails.result(run)
    body = await engine.tails.result(large)
    assert body is not None
    assert len(body) > 6 * MEGABYTE
    assert (await engine.queue.get(large.thread_id, large.run_id)).status is RunStatus.SUCCESS
    assert await lab.log(large.thread_id)


def test_the_memory_of_recent_rows_has_its_limits() -> None:
    recent = RecentRows()
    thread_id = uuid7()
    for number in range(1, 200):
        recent.add(LogRow(thread_id, number, number, thread_id, [("custom", 1000, 0)], b"x" * 1000))
    kept = recent.after(thread_id, 198)
    assert kept is not None
    assert recent.after(thread_id, 0) is None
    assert len(recent.after(thread_id, 199 - RECENT_BYTES // 1000) or []) * 1000 <= RECENT_BYTES
    for _ in range(RECENT_THREADS):
        other = uuid7()
        recent.add(LogRow(other, 1, 1, other, [("custom", 1, 0)], b"x"))
    assert recent.after(thread_id, 198) is None


def test_the_memory_of_recent_rows_does_not_grow_with_the_size_of_states() -> None:
    """Each thread may keep one row of any size; all together must not, nor keep the room that orjson wrote in."""
    recent = RecentRows()
    last = uuid7()
    tracemalloc.start()
    try:
        for number in range(200):
            thread_id = last if number == 199 else uuid7()
            payload = orjson.dumps({"text": "x" * MEGABYTE})
            recent.add(LogRow(thread_id, 1, 1, thread_id, [("values", len(payload), 0)], payload))
        del payload
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert recent.after(last, 0)
    assert RECENT_TOTAL / 2 < kept < RECENT_TOTAL + 4 * MEGABYTE


async def test_the_threads_of_stateless_runs_are_swept_when_their_time_is_over(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then whoever waits for the run finds its end."""
    monkeypatch.setattr(sweep, "EVERY", 0.1)
    engine = await lab.open()
    run = await engine.queue.create(lab.request("line", **given(lab.folder), hidden_thread=True))
    body = await engine.tails.result(run)
    ended = await engine.queue.get(run.thread_id, run.run_id)
    assert await engine.tails.result(ended) == body
    assert await engine.threads.search() == []
    lasts = "select expires_at - ended_at > interval '1 minute' from threads join runs using (thread_id)"
    assert await lab.value(lasts) is True
    await lab.rows("update threads set expires_at = clock_timestamp()")
    for table in ("threads", "runs", "run_events", "checkpoints", "checkpoint_writes"):
        await until(lambda table=table: lab.value(f"select not exists (select from {table})"), f"{table} are empty")  # type: ignore[misc]  # a default in a lambda


async def test_a_run_is_started_when_it_falls_due_and_not_before(lab: Laboratory) -> None:
    engine = await lab.open(poll=timedelta(hours=1))
    delayed = await engine.queue.create(lab.request("line", **given(lab.folder), delay=timedelta(seconds=0.5)))
    assert delayed.status is RunStatus.PENDING
    await engine.tails.result(delayed)
    waited = "select started_at - created_at >= interval '0.5 seconds' from runs"
    assert await lab.value(waited) is True
