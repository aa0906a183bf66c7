"""Owns the proof that a copy is of one moment, holds its source no longer than that, and says what it is."""

import asyncio
import sys
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from threadline.checkpoints.pool import Pool
from threadline.runs.errors import ThreadNotFound
from threadline.runs.model import Ttl
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.places import SCHEMA
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


COLUMNS = """
    select table_name::text, array_agg(quote_ident(column_name::text))
    from information_schema.columns
    join information_schema.tables using (table_schema, table_name)
    where table_schema = %s and table_type = 'BASE TABLE'
    group by table_name
    having bool_or(column_name = 'thread_id')
"""


async def measure_each_column(world: World, thread_id: UUID) -> dict[str, int]:
    """What each table that has rows of the thread stores of it, however many columns it has."""
    sizes = {}
    for table, columns in await world.rows(COLUMNS, SCHEMA):
        row = " + ".join(f"coalesce(pg_column_size({column}), 0)" for column in columns)
        statement = f"select sum({row}) from {table} where thread_id::text = %s"
        [(size,)] = await world.rows(statement, str(thread_id))
        if size:
            sizes[table] = size
    return sizes


async def fill(world: World, thread_id: UUID) -> None:
    """Put a row into each of the tables that only a server's runs fill."""
    run_id = uuid4()
    await world.rows(
        "insert into runs (run_id, thread_id, assistant_id, graph_id, status, kwargs, error, ended_at)"
        " values (%s, %s, %s, 'steps', 'error', json_build_object('a', repeat('x', 5000)), '{}', now())",
        *(run_id, thread_id, uuid4()),
    )
    await world.rows(
        "insert into run_events values (%s, 1, 3, %s, '[]', convert_to(repeat('long ', 5000), 'UTF8'))",
        *(thread_id, run_id),
    )
    await world.rows("insert into run_bases values (%s, %s, '', 'c')", thread_id, run_id)
    await world.rows(
        "insert into run_base_writes values (%s, %s, '', 'c', 't', '', 0, 'log', null, 'blob')", thread_id, run_id
    )
    await world.rows(
        "insert into effects values (%s, 'task', 'paid', '', 'c', %s, 'bytes', convert_to(repeat('x', 5000), 'UTF8'))",
        *(thread_id, run_id),
    )


async def test_the_measure_is_what_the_columns_of_all_tables_take(world: World) -> None:
    thread_id = await world.start("nested", log=["x" * 50_000], mode="ask")
    await fill(world, thread_id)
    other = await world.start(log=["not counted"])
    measured, sizes = await world.threads.measure(thread_id), await measure_each_column(world, thread_id)
    counted = {
        "checkpoints": measured["checkpoints"],
        "checkpoint_blobs": measured["channel_values"],
        "checkpoint_writes": measured["pending_writes"],
        "run_events": measured["events"],
        "runs": measured["runs"],
        "effects": measured["effects"],
    }
    assert {name: part["bytes"] for name, part in counted.items()} == {name: sizes.pop(name) for name in counted}
    assert measured["rollback_writes"]["bytes"] == sizes.pop("run_bases") + sizes.pop("run_base_writes")
    assert measured["thread"]["bytes"] == sizes.pop("threads") + sizes.pop("thread_heads")
    assert sizes == {}
    assert measured["events"]["count"] == 3
    assert measured["total_bytes"] == sum(part["bytes"] for part in measured.values() if isinstance(part, dict))
    assert (await world.threads.measure(other))["total_bytes"] < measured["total_bytes"]


async def test_the_measure_counts_each_version_of_a_value(world: World) -> None:
    thread_id = await world.start(log=["x" * 500])
    measured = await world.threads.measure(thread_id)
    log = measured["channel_values"]["by_channel"]["log"]
    assert log["versions"] == 3
    assert 1500 <= log["bytes"] <= 2500
    assert measured["checkpoints"]["count"] == 4
    with pytest.raises(ThreadNotFound):
        await world.threads.measure(uuid4())
