"""kill -9 again and again, at moments that nobody chose, under runs of many kinds."""

import os
import random
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from httpx import AsyncClient
from langgraph_sdk.client import LangGraphClient

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener, logged, run_status
from threadline.tests.process.programs import Program
from threadline.tests.process.projects import Project

pytestmark = pytest.mark.slow

ROUNDS = 5
STEPS = 60
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("counting", {"steps": STEPS, "pace": 0.03}),
    ("chatty", {}),
    ("nested", {}),
    ("fork", {}),
)
NODES = {
    "counting": {f"step{number}" for number in range(STEPS)},
    "chatty": {"a", "talk", "inner_a"},
    "nested": {"a", "inner_a", "inner_b", "c"},
    "fork": {"first", "left", "right", "join"},
}
# Fewer runs at once than are started, so that some have to wait; and nobody is given up for having died often.
SETTINGS = {"THREADLINE_RUN_CONCURRENCY": "16", "THREADLINE_MAX_ATTEMPTS": "20"}


async def start_all(sdk: LangGraphClient, number: int) -> list[Listener]:
    """Start runs of all kinds and durabilities."""
    listeners = [
        Listener(sdk, graph, f"{graph} {way} {copy} {number}", input=state, durability=way)
        for graph, state in KINDS
        for way in ("sync", "async")
        for copy in range(3)
    ]
    for listener in listeners:
        await listener.accepted()
    return listeners


async def until_busy(project: Project, moments: random.Random) -> None:
    """Wait until the nodes have done so much more that nobody knows where they are."""
    due = len(project.all_effects()) + moments.randrange(0, 200)
    await until(partial(has_reached, project, due), "the nodes work")


def has_reached(project: Project, due: int) -> bool:
    return len(project.all_effects()) >= due


async def assert_well(http: AsyncClient, project: Project, listener: Listener) -> None:
    await listener.ended(120)
    assert await run_status(http, listener.thread_id, listener.run_id) == "success"
    assert listener.parts == await logged(http, listener)
    assert set(listener.reports().values()) == {1}
    assert listener.attempts() == list(range(1, len(listener.attempts()) + 1))
    starts = project.starts(listener.name)
    assert set(starts) == NODES[listener.name.split()[0]]
    # What was reported in an attempt was committed, so no later attempt has done it again.
    attempts = listener.reporting_attempts()
    assert all(starts[node] <= attempts[node] for node in starts)


@pytest.mark.parametrize("seed", range(2))
async def test_runs_survive_kills_of_everything(deployment: Deployment, seed: int) -> None:
    moments = random.Random(seed)
    listeners: list[Listener] = []
    async with AsyncExitStack() as stack:
        for number in range(ROUNDS):
            server = await deployment.serve(**SETTINGS)
            sdk, http = await stack.enter_async_context(deployment.clients())
            listeners += await start_all(sdk, number)
            await until_busy(deployment.project, moments)
            postmaster = deployment.postmaster
            server.kill()
            await deployment.without_postgres(postmaster)
        await deployment.serve()
        for listener in listeners:
            await assert_well(http, deployment.project, listener)
        await deployment.assert_each_run_ended_once()


@pytest.mark.parametrize("seed", range(2))
async def test_runs_survive_kills_of_children_and_of_postgresql(deployment: Deployment, seed: int) -> None:
    moments = random.Random(seed)
    listeners: list[Listener] = []
    server = await deployment.serve("--workers", "2", **SETTINGS)
    starts = 2
    async with AsyncExitStack() as stack:
        for number in range(2 * ROUNDS):
            # One client opens a hundred connections at most.
            sdk, http = await stack.enter_async_context(deployment.clients())
            await until(partial(have_started, server, starts), "both children serve", 60)
            listeners += await start_all(sdk, number)
            await until_busy(deployment.project, moments)
            if number % 3 == 2:
                os.kill(deployment.postmaster, signal.SIGKILL)
            else:
                os.kill(moments.choice(server.children()), signal.SIGKILL)
                starts += 1
        for listener in listeners:
            await assert_well(http, deployment.project, listener)
        await deployment.assert_each_run_ended_once()


def have_started(server: Program, starts: int) -> bool:
    assert server.process.poll() is None
    return server.said().count("child.ready") == starts
