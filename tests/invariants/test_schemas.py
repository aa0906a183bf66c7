"""Two of us in two schemas of one database: neither claims, hears or sweeps what is the other's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import Database
from threadline.runs.engine import Engine, open_engine
from threadline.tests.laboratory.laboratory import SETTINGS, Laboratory

# The longest there may be: the channel's name is made of it.
NAME = "neighbour" + "_" * 39


@pytest.fixture
async def neighbour(lab: Laboratory) -> AsyncIterator[Database]:
    """Another schema of the laboratory's database, on connections that look for names nowhere."""
    database = Database(make_conninfo(lab.dsn, options="-c search_path="), schema_name=NAME, pool_size=4)
    await migrate(database)
    yield database
    await lab.exit()
    with psycopg.connect(lab.dsn, autocommit=True) as connection:
        connection.execute(f"drop schema {NAME} cascade".encode())


async def test_a_run_is_claimed_in_its_own_schema_only(lab: Laboratory, neighbour: Database) -> None:
    given: dict[str, Any] = {"input": {"folder": str(lab.make_folder()), "gates": [], "log": []}}
    door = await lab.open(executes=False)
    ours = await door.queue.create(lab.request("line", **given))
    async with AsyncExitStack() as stack:
        worker = await _open(stack, lab, neighbour)
        theirs = await lab.run(worker, "line", **given)
        assert theirs.status == "success"
        assert await lab.status(ours) == "pending"
        assert await lab.value("select count(*) from runs") == 1
        assert await lab.value("select count(*) from processes") == 1
        assert await lab.value(f"select count(*) from {NAME}.processes") == 1
        assert [run.run_id for run in await worker.queue.list(theirs.thread_id)] == [theirs.run_id]


async def test_a_hint_is_heard_in_its_own_schema_only(lab: Laboratory, neighbour: Database) -> None:
    listener = await lab.connect("test/listen")
    for channel in (lab.database().schema.channel, neighbour.schema.channel):
        await listener.execute(f"listen {channel}".encode())
    given: dict[str, Any] = {"input": {"folder": str(lab.make_folder()), "gates": [], "log": []}}
    async with AsyncExitStack() as stack:
        worker = await _open(stack, lab, neighbour)
        await _open(stack, lab, neighbour)  # somebody to tell
        heard: set[str] = set()
        async with asyncio.timeout(30):
            while not heard:  # until the worker has seen that there is
                await lab.run(worker, "line", **given)
                async for notice in listener.notifies(timeout=0.5, stop_after=1):
                    heard.add(notice.channel)
        assert heard == {neighbour.schema.channel} == {f"threadline_{NAME}"}


async def _open(stack: AsyncExitStack, lab: Laboratory, database: Database) -> Engine:
    settings = replace(SETTINGS, executes=True)
    return await stack.enter_async_context(open_engine(database, lab.registry, settings))
