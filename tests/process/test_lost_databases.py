"""PostgreSQL killed, stopped or unreachable: runs wait and go on, and nobody is told what is not so."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from httpx import AsyncClient
from langgraph_sdk.client import LangGraphClient

from threadline.checkpoints.embedded.server import EmbeddedServer, start_server
from threadline.tests.checkpoints.embedded.owners import FAST
from threadline.tests.process.conftest import make_folder
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener, logged
from threadline.tests.process.posters import Poster
from threadline.tests.process.programs import Program, free_port, launch
from threadline.tests.process.projects import write_project

# With durability exit nothing waits for the database before the end, so these steps are faster.
STEPS = {"sync": 80, "async": 120, "exit": 500}
OUTAGE_SECONDS = 2.5  # longer than the lease of the processes


def start_counting(sdk: LangGraphClient) -> list[Listener]:
    return [
        Listener(sdk, "counting", way, input={"steps": steps, "pace": 0.01}, durability=way)
        for way, steps in STEPS.items()
    ]


async def assert_unharmed(deployment: Deployment, http: AsyncClient, counting: list[Listener]) -> None:
    """No attempt was lost, nothing was done or told twice, and no stream was cut."""
    for listener in counting:
        await listener.ended()
        assert listener.attempts() == [1]
        assert listener.parts == await logged(http, listener)
        assert set(listener.reports().values()) == {1}
        steps = range(STEPS[listener.name])
        assert deployment.project.starts(listener.name) == {f"step{number}": 1 for number in steps}


async def test_runs_go_on_when_their_postgresql_was_killed_and_when_it_was_stopped(deployment: Deployment) -> None:
    await deployment.serve()
    async with deployment.clients() as (sdk, http):
        counting = start_counting(sdk)
        poster = Poster(http, "posted")
        for number in (signal.SIGKILL, signal.SIGINT):
            await poster.accepts()
            assert not any(listener.task.done() for listener in counting)
            postmaster = deployment.postmaster
            os.kill(postmaster, number)
            await deployment.without_postgres(postmaster)
        await poster.accepts()
        await poster.stop()
        await assert_unharmed(deployment, http, counting)
        await poster.assert_kept(deployment.project)


@pytest.fixture
def database_server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL that the test may stop, and that is not the program's own."""
    with make_folder() as folder:
        server = start_server(folder / "data", options=FAST)
        yield server
        server.stop()


async def test_no_run_is_taken_from_a_living_process_because_the_database_was_away(
    deployment: Deployment, database_server: EmbeddedServer
) -> None:
    deployment.dsn = database_server.dsn
    await deployment.serve("--workers", "2")
    async with deployment.clients() as (sdk, http):
        counting = start_counting(sdk)
        poster = Poster(http, "posted")
        await poster.accepts()
        for listener in counting:
            await listener.saw("updates")
        await asyncio.to_thread(database_server.stop)
        await asyncio.sleep(OUTAGE_SECONDS)
        assert not any(listener.task.done() for listener in counting)
        await asyncio.to_thread(database_server.restart)
        await poster.accepts()
        await poster.stop()
        await assert_unharmed(deployment, http, counting)
        await poster.assert_kept(deployment.project)


@pytest.fixture(scope="module", autouse=True)
def unreachable() -> Iterator[Program]:
    """A `serve` whose database is nowhere; it gives up after half a minute, beside the module's other tests."""
    with make_folder() as folder:
        write_project(folder / "other")
        url = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/nowhere"
        program = launch(
            ["serve", "--port", "0", "--config", "other/langgraph.json"], folder, {"DATABASE_URL": url}, "unreachable"
        )
        yield program
        if program.process.poll() is None:
            program.kill()


async def test_a_database_that_cannot_be_reached_is_named_and_ends_the_start(unreachable: Program) -> None:
    assert await unreachable.ended() == 1
    last = unreachable.said().splitlines()[-1]
    assert last.startswith("threadline serve: PostgreSQL at 127.0.0.1:")
    assert "database nowhere" in last
    assert "Connection refused" in last
    assert "DATABASE_URL" in last
    assert "secret" not in unreachable.said()
