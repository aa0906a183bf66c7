"""Owns the proof that a copy is of one moment, holds its source no longer than that, and says what it is."""

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from threadline.checkpoints.pool import Pool
from threadline.runs.errors import ThreadNotFound
from threadline.runs.model import Ttl
from threadline.tests.laboratory.locks import until
from threadline.tests.runs.state_world import World, as_json


@pytest.fixture
async def world(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(sys, "path", sys.path[:])
    return World(pool, tmp_path)


async def test_a_copy_waits_for_what_is_being_written(world: World, dsn: str) -> None:
    thread_id = await world.start(log=["in"])
    async with await psycopg.AsyncConnection.connect(dsn) as writer:
        await writer.execute("update thread_heads set inflight = 1 where thread_id = %s", [thread_id])
        copying = asyncio.create_task(world.threads.copy(thread_id))
        await until(lambda: world.rows("select from pg_locks where not granted"), "the copy waits")
        assert not copying.done()
        await writer.commit()
        assert writer.info.transaction_status is TransactionStatus.IDLE
        # It saw what the writer left, which is a run at work.
        assert (await copying).status == "interrupted"


async def test_a_copy_has_everything_but_runs_and_events(world: World) -> None:
    thread_id = await world.start("nested", log=["in"], mode="ask")
    await world.states.update(thread_id, {"note": "x"}, as_node="plan")
    await world.threads.patch(thread_id, {"a": {"b": 1}}, Ttl(5))
    copied = await world.threads.copy(thread_id)
    source = await world.threads.get(thread_id)
    for name in ("metadata", "config", "status", "values", "interrupts", "error", "ttl_minutes", "ttl_strategy"):
        assert getattr(copied, name) == getattr(source, name)
    theirs, mine = [as_json(await world.states.history(each, limit=100)) for each in (thread_id, copied.thread_id)]
    assert [state["values"] for state in mine] == [state["values"] for state in theirs]
    assert [state["checkpoint_id"] for state in mine] == [state["checkpoint_id"] for state in theirs]
    assert await world.events(copied.thread_id) == []
    assert await world.head(copied.thread_id) == (0, 0, True)
    # What happens to one does not happen to the other.
    await world.threads.delete(thread_id)
    assert as_json(await world.states.history(copied.thread_id, limit=100)) == mine


async def test_a_copy_of_what_is_not_there_leaves_nothing(world: World) -> None:
    with pytest.raises(ThreadNotFound):
        await world.threads.copy(uuid4())
    assert await world.rows("select from thread_heads") == []


async def test_the_measure_counts_each_version_of_a_value(world: World) -> None:
    thread_id = await world.start(log=["x" * 500])
    measured = await world.threads.measure(thread_id)
    log = measured["channel_values"]["by_channel"]["log"]
    assert log["versions"] == 3
    assert 1500 <= log["bytes"] <= 2000
    assert measured["checkpoints"]["count"] == 4
    with pytest.raises(ThreadNotFound):
        await world.threads.measure(uuid4())
