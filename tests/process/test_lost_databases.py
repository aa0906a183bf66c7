"""PostgreSQL killed, stopped or unreachable: runs wait and go on, and nobody is told what is not so."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from threadline.checkpoints.embedded.server import EmbeddedServer, start_server
from threadline.commands.databases import PATIENCE
from threadline.tests.checkpoints.embedded.owners import FAST
from threadline.tests.laboratory.locks import until
from threadline.tests.process.conftest import make_folder
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener, logged
from threadline.tests.process.posters import Poster
from threadline.tests.process.programs import free_port
from threadline.tests.process.witnesses import Witnesses

OUTAGE_SECONDS = 2.5  # longer than the lease of the processes


@pytest.mark.slow  # several programs, one after the other
async def test_runs_go_on_when_their_postgresql_was_killed_and_when_it_was_stopped(deployment: Deployment) -> None:
    await deployment.serve()
    async with deployment.clients() as (sdk, http):
        poster = Poster(http, "posted")
        for number in (signal.SIGKILL, signal.SIGINT):
            witnesses = Witnesses(sdk, deployment.project, number.name)
            await witnesses.under_way()
            await poster.accepts()
            postmaster = deployment.postmaster
            os.kill(postmaster, number)
            await deployment.without_postgres(postmaster)
            await poster.accepts()
            await witnesses.assert_unharmed(http)
        await poster.stop()
        await poster.assert_kept(deployment.project)


@pytest.fixture
def database_server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL that the test may stop, and that is not the program's own."""
    with make_folder() as folder:
        server = start_server(folder / "data", options=FAST)
        yield server
        server.stop()


@pytest.mark.slow  # an outage longer than a lease: nine seconds
async def test_no_run_is_taken_from_a_living_process_because_the_database_was_away(
    deployment: Deployment, database_server: EmbeddedServer
) -> None:
    deployment.dsn = database_server.dsn
    await deployment.serve("--workers", "2")
    async with deployment.clients() as (sdk, http):
        witnesses = Witnesses(sdk, deployment.project, "witness")
        poster = Poster(http, "posted")
        await witnesses.under_way()
        await poster.accepts()
        await asyncio.to_thread(database_server.stop)
        await asyncio.sleep(OUTAGE_SECONDS)
        await asyncio.to_thread(database_server.restart)
        await poster.accepts()
        await poster.stop()
        await witnesses.assert_unharmed(http)
        await poster.assert_kept(deployment.project)


@pytest.mark.slow  # a drain that is waited for in vain
async def test_a_server_that_is_stopped_while_the_database_is_away_leaves_its_runs_to_the_next(
    deployment: Deployment, database_server: EmbeddedServer
) -> None:
    deployment.dsn = database_server.dsn
    server = await deployment.serve(BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS="3")
    async with deployment.clients() as (sdk, http):
        listener = Listener(sdk, "line", "left", input={"gates": ["b"]})
        await listener.saw("updates", "a")
        await until(lambda: deployment.project.starts("left")["b"], "b starts")
        await asyncio.to_thread(database_server.stop)
        assert await server.stop() == 0
        await asyncio.to_thread(database_server.restart)
        deployment.project.open_gate("left", "b")
        await deployment.serve()
        await listener.ended()
        assert listener.attempts() == [1, 2]
        assert listener.parts == await logged(http, listener)
        assert deployment.project.starts("left") == {"a": 1, "b": 2, "c": 1}


@pytest.mark.slow  # longer than a start waits for a database that was never there
async def test_a_child_that_dies_while_the_database_is_away_is_replaced_when_it_is_back(
    deployment: Deployment, database_server: EmbeddedServer
) -> None:
    deployment.dsn = database_server.dsn
    server = await deployment.serve()
    async with deployment.clients() as (sdk, http):
        listener = Listener(sdk, "line", "lost", input={"gates": ["b"]})
        await until(lambda: deployment.project.starts("lost")["b"], "b starts")
        await asyncio.to_thread(database_server.stop)
        (child,) = server.children()
        os.kill(child, signal.SIGKILL)
        await asyncio.sleep(PATIENCE.total_seconds() + 5)
        assert server.said().count("child.died") == 1
        await asyncio.to_thread(database_server.restart)
        deployment.project.open_gate("lost", "b")
        await listener.ended()
        assert listener.attempts() == [1, 2]
        assert listener.parts == await logged(http, listener)


@pytest.mark.slow  # it gives up after half a minute
async def test_a_database_that_cannot_be_reached_is_named_and_ends_the_start(deployment: Deployment) -> None:
    url = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/nowhere"
    arguments = ["serve", "--port", str(deployment.port), "--config", "other/langgraph.json"]
    program = deployment.launch(arguments, {"DATABASE_URL": url})
    assert await program.ended() == 1
    last = program.said().splitlines()[-1]
    assert last.startswith("threadline serve: PostgreSQL at 127.0.0.1:")
    assert "database nowhere" in last
    assert "Connection refused" in last
    assert "DATABASE_URL" in last
    assert "secret" not in program.said()
