"""The schema comes up the same way however many processes start at once."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.migrate import MigrationError, list_migrations, migrate, verify
from threadline.checkpoints.pool import Database, open_pool
from threadline.tests.laboratory.locks import until_blocked
from threadline.tests.laboratory.places import reach


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    name = f"threadline_empty_{uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def test_eight_migrators_at_once_apply_each_step_once(empty_dsn: str) -> None:
    reports = await asyncio.gather(*(migrate(reach(empty_dsn)) for _ in range(8)))
    steps = [step for report in reports for step in report]
    assert sorted(steps) == sorted(set(steps))
    assert {f"{m.number:04}_{m.name}" for m in list_migrations()} <= set(steps)


async def test_a_second_migration_has_nothing_to_do(database: Database) -> None:
    assert await migrate(database) == []


async def test_an_unmigrated_database_is_refused_with_the_command_that_helps(empty_dsn: str) -> None:
    async with open_pool(reach(empty_dsn), "test") as pool:
        with pytest.raises(MigrationError, match="run `threadline migrate` first"):
            await verify(pool)


async def test_an_index_left_half_built_is_built_again(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update pg_index set indisvalid = false where indexrelid = 'store_prefix_idx'::regclass")
        connection.execute("delete from store_migrations where v >= 1")
        await migrate(reach(dsn))
        row = connection.execute(
            "select indisvalid from pg_index where indexrelid = 'store_prefix_idx'::regclass"
        ).fetchone()
    assert row == (True,)


async def test_a_migrator_gives_up_with_a_reason_when_the_lock_stays_taken(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(7216041853921104)")
        with pytest.raises(MigrationError, match="another process has been migrating"):
            await migrate(reach(dsn), wait=0.2)


INSERT_RUN = """insert into runs (run_id, thread_id, assistant_id, graph_id, status)
    values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'g', 'success')"""


async def test_an_index_of_ours_is_built_beside_writers_and_again_after_it_was_cut_off(dsn: str) -> None:
    async with (
        await psycopg.AsyncConnection.connect(dsn) as earlier,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as writer,
    ):
        await writer.execute("update pg_index set indisvalid = false where indexrelid = 'runs_ended'::regclass")
        await writer.execute("delete from threadline_migrations where number = 17")
        await earlier.execute(INSERT_RUN)  # not committed: building waits for it
        migrating = asyncio.create_task(migrate(reach(dsn)))
        await until_blocked(writer, "threadline/migrate")
        await writer.execute("set lock_timeout = '5s'")
        await writer.execute(INSERT_RUN)
        await earlier.commit()
        assert await migrating == ["0017_ended_runs"]
        cursor = await writer.execute("select indisvalid from pg_index where indexrelid = 'runs_ended'::regclass")
        assert await cursor.fetchone() == (True,)
