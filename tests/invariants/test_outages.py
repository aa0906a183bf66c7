"""Invariants 1, 5 and 11 when the database goes away: runs wait, go on, lose nothing, and nobody is declared dead."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import pytest

from threadline.checkpoints.embedded.server import EmbeddedServer, start_server
from threadline.checkpoints.migrate import migrate
from threadline.runs.engine import Engine
from threadline.runs.model import RUN_ENDED, Run
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, read, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.places import is_pooled, plain, reach
from threadline.tests.laboratory.stories import reports

LEASE = timedelta(seconds=8)  # what has to be seen within one takes a while on a busy machine
_HELD = "select leased_until > clock_timestamp() from processes where process_id = %s"
_KILL = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and application_name like %s"


def given(folder: Path, *gates: str, **values: Any) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": [], **values}}


async def attempts_of(lab: Laboratory, run: Run) -> list[int]:
    return [read(event)["attempt"] for event in await lab.log(run.thread_id) if event.name == "metadata"]


@pytest.mark.parametrize("whom", ["threadline/writer%", "threadline/pool", "threadline/admission", "threadline/%"])
async def test_runs_finish_and_lose_nothing_when_their_connections_are_terminated(lab: Laboratory, whom: str) -> None:
    if is_pooled() and whom != "threadline/%":
        pytest.skip("behind a pooler a session has the name of whoever used it last")
    engine = await lab.open()
    calm = await lab.run(engine, "line", **given(lab.make_folder()))
    folders = [lab.make_folder() for _ in range(12)]
    requests = [lab.request("line", **given(folder, "b"), durability="sync") for folder in folders]
    runs = await asyncio.gather(*map(engine.queue.create, requests))
    for folder in folders:
        await lab.until_traced(folder, "b started")
    assert await lab.rows(_KILL, lab.database_name, whom)
    for folder in folders:
        open_gate(folder, "b")
    more = asyncio.create_task(engine.queue.create(lab.request("line", **given(lab.make_folder()))))
    await lab.rows(_KILL, lab.database_name, whom)
    for run in [*runs, await more]:
        await engine.tails.result(run)
        assert await lab.until_status(run, "success", "error") == "success"
        assert reports(await lab.log(run.thread_id)) == reports(await lab.log(calm.thread_id))
        assert await attempts_of(lab, run) == [1]
    for folder in folders:
        assert set(trace(folder).values()) == {1}


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedServer]:
    """A server that nobody else uses, to be stopped and started."""
    folder = Path(mkdtemp(prefix="threadline-outage-"))
    bindir = os.environ.get("PG_BINDIR")
    options = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    server = start_server(folder, bindir=Path(bindir) if bindir else None, options=options)
    try:
        asyncio.run(migrate(reach(server.dsn, pooled=False)))
        yield server
    finally:
        server.stop()
        rmtree(folder)


@pytest.fixture
async def own_lab(own_server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with AsyncExitStack() as stack:
        yield Laboratory(plain(own_server.dsn), tmp_path, stack)


async def follow(engine: Engine, run: Run) -> asyncio.Task[None]:
    """Have a reader of the run, with its place found, that ends with the run."""
    has_begun = asyncio.Event()

    async def read_to_the_end() -> None:
        async with engine.tails.follow(run.thread_id, run.start_seq) as subscription:
            while True:
                rows = await subscription.next_rows(1.0)
                has_begun.set()
                if any(row.contents[-1][0] == RUN_ENDED for row in rows):
                    return

    task = asyncio.create_task(read_to_the_end())
    await has_begun.wait()
    return task


async def test_runs_wait_for_a_database_that_went_away_and_nobody_is_declared_dead_for_that(
    own_lab: Laboratory, own_server: EmbeddedServer
) -> None:
    """Stopped in mid-run for longer than a lease: both processes have lost theirs, and one is slow to return."""
    lab = own_lab
    here = await lab.open(lab.dsn, lease=LEASE, concurrency=3)
    there = await lab.start(conninfo=lab.dsn, lease=LEASE)
    folders = [lab.make_folder() for _ in range(6)]
    runs = []
    for folder in folders:  # the first three find a place here, the others are claimed there
        runs.append(await here.queue.create(lab.request("line", **given(folder, "b"), durability="sync")))
        await lab.until_traced(folder, "b started")
    owners = await lab.rows("select process_id, count(*)::int from runs group by 1")
    assert dict(owners) == {here.process_id: 3, there.process_id: 3}
    waiting = [await follow(here, run) for run in runs]
    await asyncio.to_thread(own_server.stop)
    for folder in folders[:3]:
        open_gate(folder, "b")
    await asyncio.sleep(LEASE.total_seconds() * 1.1)  # the outage has to last longer than a lease
    assert not any(task.done() for task in waiting)
    there.signal(signal.SIGSTOP)
    await asyncio.to_thread(own_server.restart)
    await lab.reconnect()
    await asyncio.gather(*waiting[:3])
    await until(lambda: lab.value(_HELD, here.process_id), "this process has its lease again")
    assert await lab.value(_HELD, there.process_id) is False
    for _ in range(5):  # as many looks of the takeover
        await asyncio.sleep(0.1)
        theirs = await lab.rows("select status, attempt, failures from runs where process_id = %s", there.process_id)
        assert theirs == [("running", 1, 0)] * 3, await lab.rows("select * from runs order by created_at")
    there.signal(signal.SIGCONT)
    await until(lambda: lab.value(_HELD, there.process_id), "the other one has its lease again")
    for folder in folders[3:]:
        open_gate(folder, "b")
    await asyncio.gather(*waiting)
    for run, folder in zip(runs, folders, strict=True):
        assert await lab.until_status(run, "success", "error") == "success"
        assert await attempts_of(lab, run) == [1]
        assert set(trace(folder).values()) == {1}
    assert await lab.value("select max(failures) from runs") == 0
