"""A connection that died while it was idle never reaches whoever asks for one."""

import asyncio
import logging
import socket
import time
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.pool import Database, Pool, open_pool
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.proxy import Proxy

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


async def test_a_pool_is_back_as_soon_after_a_long_outage_as_after_a_short_one(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def failures() -> int:
        return sum("error connecting" in record.message for record in caplog.records)

    with socket.socket() as away, caplog.at_level(logging.WARNING, "psycopg.pool"):
        away.bind(("127.0.0.1", 0))
        plain: dict[str, Any] = {"sslmode": "disable", "gssencmode": "disable"}
        where = make_conninfo(database.conninfo, host="127.0.0.1", port=away.getsockname()[1], hostaddr=None, **plain)
        opening = asyncio.create_task(_open_and_use(Database(where)))
        # Doubled pauses would be 1, 2 and 4 seconds.
        await until(lambda: failures() >= 3, "three attempts have failed")
        proxy = Proxy(database.conninfo)
        back = time.monotonic()
        async with await asyncio.start_server(proxy.serve, sock=away):
            await opening
            assert time.monotonic() - back < 2.5
            proxy.cut_all()
            await asyncio.gather(*proxy.tasks)


async def _open_and_use(database: Database) -> None:
    async with open_pool(database, "test") as pool:
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
