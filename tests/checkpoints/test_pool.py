"""A connection that died while it was idle never reaches whoever asks for one."""

import asyncio

import psycopg

from threadline.checkpoints.pool import Database, Pool, open_pool

OTHERS = "from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()"


async def test_connections_killed_while_idle_are_replaced_unseen(database: Database, pool: Pool) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(_use(pool))
    with psycopg.connect(database.conninfo, autocommit=True) as killer:
        killer.execute(f"select pg_terminate_backend(pid, 5000) {OTHERS}")
        assert killer.execute(f"select count(*) {OTHERS}").fetchone() == (0,)
    for _ in range(8):
        await _use(pool)


async def test_connections_say_who_they_belong_to(database: Database) -> None:
    async with open_pool(database, "example") as pool, pool.connection() as connection:
        cursor = await connection.execute("select application_name from pg_stat_activity where pid = pg_backend_pid()")
        assert await cursor.fetchone() == ("threadline/example",)


async def test_behind_a_pooler_nothing_is_prepared(database: Database) -> None:
    pooled = Database(database.conninfo, pooler=True, pool_size=1)
    async with open_pool(pooled, "test") as pool, pool.connection() as connection:
        for _ in range(10):
            await connection.execute("select %s::integer", [1])
        cursor = await connection.execute("select count(*) from pg_prepared_statements")
        assert await cursor.fetchone() == (0,)


async def _use(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("select pg_sleep(0.02)")
