"""kill -9 again and again, at moments that nobody chose, under runs of many kinds."""

import os
import random
import signal
from functools import partial
from typing import Any

import pytest
from httpx import AsyncClient
from langgraph_sdk.client import LangGraphClient

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener, logged, run_status
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


async def assert_well(http: AsyncClient, project: Project, listener: Listener, kills: int) -> None:
    await listener.ended(120)
    assert await run_status(http, listener.thread_id, listener.run_id) == "success"
    assert listener.parts == await logged(http, listener)
    assert set(listener.reports().values()) == {1}
    assert listener.attempts() == list(range(1, len(listener.attempts()) + 1))
    starts = project.starts(listener.name)
    assert set(starts) == NODES[listener.name.split()[0]]
    # Under durability async two supersteps may be under way; a fork has two nodes in one.
    assert starts.total() - len(starts) <= 2 * kills


@pytest.mark.parametrize("seed", range(2))
async def test_runs_survive_kills_of_everything(deployment: Deployment, seed: int) -> None:
    moments = random.Random(seed)
    listeners: list[Listener] = []
    async with deployment.clients() as (sdk, http):
        for number in range(ROUNDS):
            server = await deployment.serve(**SETTINGS)
            listeners += await start_all(sdk, number)
            await until_busy(deployment.project, moments)
            postmaster = deployment.postmaster
            server.kill()
            await deployment.without_postgres(postmaster)
        await deployment.serve()
        for listener in listeners:
            await assert_well(http, deployment.project, listener, ROUNDS)


@pytest.mark.parametrize("seed", range(2))
async def test_runs_survive_kills_of_children_and_of_postgresql(deployment: Deployment, seed: int) -> None:
    moments = random.Random(seed)
    listeners: list[Listener] = []
    async with deployment.clients() as (sdk, http):
        server = await deployment.serve("--workers", "2", **SETTINGS)
        for number in range(2 * ROUNDS):
            await until(lambda: len(server.children()) == 2, "both children are there")
            listeners += await start_all(sdk, number)
            await until_busy(deployment.project, moments)
            os.kill(deployment.postmaster if number % 3 == 2 else moments.choice(server.children()), signal.SIGKILL)
        for listener in listeners:
            await assert_well(http, deployment.project, listener, 2 * ROUNDS)
