"""kill -9 of everything, again and again, at moments that nobody chose, under runs of many kinds."""

import random
from typing import Any

import pytest
from httpx import AsyncClient
from langgraph_sdk.client import LangGraphClient

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener, logged, run_status

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


async def start_all(sdk: LangGraphClient, number: int) -> list[Listener]:
    """Start runs of all kinds and durabilities, more than are executed at once."""
    listeners = [
        Listener(sdk, graph, f"{graph} {way} {copy} {number}", input=state, durability=way)
        for graph, state in KINDS
        for way in ("sync", "async")
        for copy in range(3)
    ]
    for listener in listeners:
        await listener.accepted()
    return listeners


async def assert_well(http: AsyncClient, deployment: Deployment, listener: Listener, kills: int) -> None:
    await listener.ended()
    assert await run_status(http, listener.thread_id, listener.run_id) == "success"
    assert listener.parts == await logged(http, listener)
    assert set(listener.reports().values()) == {1}
    assert listener.attempts() == list(range(1, len(listener.attempts()) + 1))
    starts = deployment.project.starts(listener.name)
    assert set(starts) == NODES[listener.name.split()[0]]
    # Under durability async two supersteps may be under way; a fork has two nodes in one.
    assert starts.total() - len(starts) <= 2 * kills


@pytest.mark.slow  # five times a start of PostgreSQL and of the server
async def test_runs_survive_kills_at_any_moment(deployment: Deployment) -> None:
    moments = random.Random(20251)
    listeners: list[Listener] = []
    async with deployment.clients() as (sdk, http):
        for number in range(ROUNDS):
            server = await deployment.serve(THREADLINE_RUN_CONCURRENCY="16", THREADLINE_MAX_ATTEMPTS="20")
            listeners += await start_all(sdk, number)
            due = len(deployment.project.all_effects()) + moments.randrange(0, 300)
            await until(lambda due=due: len(deployment.project.all_effects()) >= due, "enough has been done")
            postmaster = deployment.postmaster
            server.kill()
            await deployment.without_postgres(postmaster)
        await deployment.serve()
        for listener in listeners:
            await assert_well(http, deployment, listener, ROUNDS)
