"""A command waits for its database, but not for ever, and never shows its secrets."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from threadline.checkpoints.pool import Database
from threadline.commands import databases
from threadline.commands.databases import await_database, describe
from threadline.commands.exits import CommandFailed
from threadline.tests.checkpoints.embedded.owners import eventually
from threadline.tests.commands.conftest import Launch
from threadline.tests.commands.projects import WAITING, write_project


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def forward(port: int, dsn: str) -> Iterator[None]:
    """Let clients of `port` talk to the server of `dsn`."""
    parts = conninfo_to_dict(dsn)
    host, number = str(parts.get("host") or "127.0.0.1"), str(parts.get("port") or 5432)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{number}")
        return await asyncio.open_connection(host, int(number))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            return  # a side went away, which is all there is to know
        finally:
            writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await connect()
        await asyncio.gather(copy(reader, downstream), copy(upstream, writer))

    async def serve() -> None:
        async with await asyncio.start_server(join, "127.0.0.1", port):
            ready.set_result(None)
            await stopped.wait()

    loop = asyncio.new_event_loop()
    ready: asyncio.Future[None] = loop.create_future()
    stopped = asyncio.Event()
    thread = Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_a_database_that_comes_up_later_is_waited_for(start: Launch, folder: Path, dsn: str) -> None:
    port = free_port()
    url = make_conninfo(dsn, host="127.0.0.1", port=port)
    program = start("worker", "--config", str(write_project(folder / "theirs", WAITING)), DATABASE_URL=url)
    program.await_log("database.unreachable")
    assert f"PostgreSQL at 127.0.0.1:{port}" in program.log
    with forward(port, dsn):
        program.await_log("worker.ready")
        program.end()


async def test_a_database_that_stays_away_is_given_up_in_plain_words(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    database = Database(f"postgresql://me:hush@127.0.0.1:{port}/app")
    with pytest.raises(CommandFailed) as caught:
        await await_database(database, patience=timedelta(seconds=0.1))
    message = str(caught.value)
    assert message.startswith(f"PostgreSQL at 127.0.0.1:{port}, database app did not answer for 0.1 s: ")
    assert message.endswith("Start it, or correct DATABASE_URL.")
    assert "hush" not in message + caplog.text
    assert [record.message for record in caplog.records] == ["database.unreachable"]


def test_whoever_waits_for_ever_is_not_given_up_and_says_so_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, dsn: str
) -> None:
    monkeypatch.setattr(databases, "_RETRY_SECONDS", 0.001)
    port = free_port()
    database = Database(make_conninfo(dsn, host="127.0.0.1", port=port))
    waiting = Thread(target=lambda: asyncio.run(await_database(database, None)))
    waiting.start()
    eventually(lambda: len(caplog.records) >= 3)
    assert waiting.is_alive()
    with forward(port, dsn):
        waiting.join(10)
        assert not waiting.is_alive()
    said = {record.message for record in caplog.records if record.name.startswith("threadline.")}
    assert said == {"database.unreachable"}


def test_a_database_is_described_without_its_secrets() -> None:
    assert describe(Database("postgresql://me:hush@db:6543/app")) == "PostgreSQL at db:6543, database app"
    assert describe(Database("host=/run/pg user=me")) == "PostgreSQL at /run/pg:5432, database me"
