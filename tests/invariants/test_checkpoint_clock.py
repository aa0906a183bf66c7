"""Invariant 14: checkpoint ids never go back, whatever the clocks of the machines say."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base import id as checkpoint_ids
from langgraph.checkpoint.base.id import uuid6

from threadline.checkpoints import clock
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.run_saver import RunSaver
from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.writing import open_writer, seed_run

BEHIND = -3.0  # seconds


def given(folder: Path) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "log": []}}


async def ids(lab: Laboratory, thread_id: uuid.UUID) -> list[str]:
    """The checkpoints' ids in the order in which they were written."""
    where = "thread_id = %s and checkpoint_ns = ''"
    statement = f"select checkpoint_id from checkpoints where {where} order by xmin::text::bigint"
    return [checkpoint_id for (checkpoint_id,) in await lab.rows(statement, str(thread_id))]


@pytest.mark.parametrize("graph_id", ["line", "nested", "remembering", "asking"])
async def test_a_run_on_a_process_whose_clock_is_behind_leaves_the_threads_latest_state(
    lab: Laboratory, graph_id: str
) -> None:
    door = await lab.open(executes=False)
    ahead = await lab.start()
    folder = lab.make_folder()
    first = await lab.run(door, graph_id, **given(folder))
    ahead.stop()
    behind = await lab.start(clock_offset=BEHIND)
    how: dict[str, Any] = {"command": {"resume": "yes"}} if graph_id == "asking" else given(folder)
    second = await lab.run(door, graph_id, first.thread_id, **how)
    behind.stop()
    assert second.status == "success"
    state = await door.states.get(first.thread_id)
    assert state["metadata"]["run_id"] == str(second.run_id)
    assert state["values"] == await lab.values(first.thread_id)
    assert len(state["values"]["log"]) > len((await door.states.history(first.thread_id, limit=1000))[-1]["values"])
    written = await ids(lab, first.thread_id)
    assert written == sorted(written)
    assert len(written) > 4


async def test_a_state_update_by_a_process_whose_clock_is_behind_is_the_latest(lab: Laboratory) -> None:
    ahead = await lab.start(clock_offset=-BEHIND)
    engine = await lab.open(executes=False)
    run = await lab.run(engine, "line", **given(lab.make_folder()))
    ahead.stop()
    await engine.states.update(run.thread_id, {"log": ["late"]}, as_node="c")
    assert (await engine.states.get(run.thread_id))["values"]["log"] == ["a", "b", "c", "late"]


async def test_a_run_taken_over_by_a_process_whose_clock_is_behind_ends_with_its_own_state(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    doomed = await lab.start()
    folder = lab.make_folder()
    run = await door.queue.create(lab.request("line", input={"folder": str(folder), "gates": ["c"], "log": []}))
    await lab.until_traced(folder, "c started")
    doomed.kill()
    await lab.start(clock_offset=BEHIND)
    await lab.make_steady()
    (folder / "c.open").touch()
    await door.tails.result(run)
    assert (await door.states.get(run.thread_id))["values"]["log"] == ["a", "b", "c"]
    written = await ids(lab, run.thread_id)
    assert written == sorted(written)


async def test_a_put_below_the_threads_latest_checkpoint_is_refused(lab: Laboratory, pool: Pool) -> None:
    fence = await seed_run(lab)
    config: Any = {"configurable": {"thread_id": str(fence.thread_id), "checkpoint_ns": ""}}
    async with open_writer(lab.database()) as bench:
        first = RunSaver(pool, bench.open(fence), fresh=True)
        newest = empty_checkpoint()
        await first.aput(config, newest, {}, {})
        saver = RunSaver(pool, bench.open(fence), fresh=False)
        assert await saver.aget_tuple(config) is not None
        old = {**empty_checkpoint(), "id": older_than(newest["id"])}
        with pytest.raises(ValueError, match="older than the thread's latest"):
            await saver.aput(config, old, {}, {})  # type: ignore[arg-type]  # a TypedDict with another id
        await saver.aput(config, empty_checkpoint(), {}, {})
    assert len(await ids(lab, fence.thread_id)) == 2


def older_than(checkpoint_id: str) -> str:
    """An id minted a second before that one."""
    number = uuid.UUID(checkpoint_id).int - (10_000_000 << 80 >> 12)
    return str(uuid.UUID(int=number & ~(0xF << 76) | 6 << 76))


def test_a_floor_is_below_every_id_minted_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_ids, "_last_v6_timestamp", None)
    future = clock.checkpoint_timestamp(str(uuid6())) + 10**9
    monkeypatch.setattr(checkpoint_ids, "_last_v6_timestamp", future)
    floor = str(uuid6())
    monkeypatch.setattr(checkpoint_ids, "_last_v6_timestamp", None)
    clock.raise_checkpoint_floor(floor)
    minted = [str(uuid6()) for _ in range(100)]
    assert minted == sorted(minted)
    assert min(minted) > floor
    assert clock.newest_timestamp() == clock.checkpoint_timestamp(minted[-1])


@pytest.mark.parametrize("other", ["", "nonsense", str(uuid.UUID(int=0)), "1f0a0000-0000-6000-8000-00000000zzzz"])
def test_what_is_no_uuid_of_version_6_has_no_timestamp(other: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|not a UUID"):
        clock.checkpoint_timestamp(other)
