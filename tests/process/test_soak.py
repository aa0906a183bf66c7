"""Hours under load leave no process larger. `make test-soak` runs it, for an hour unless told otherwise."""

import asyncio
import os
import time
from collections.abc import Callable
from statistics import median

import pytest
from langgraph_sdk.client import LangGraphClient

from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener
from threadline.tests.process.memory import IS_TOLD, memory_of

SECONDS = os.environ.get("THREADLINE_SOAK_SECONDS")
CLIENTS = 6
# Of memory, from the second to the last quarter: what a process needs for its work it has by then, leaks go on.
GROWTH, SLACK = 1.05, 16 * 1024 * 1024


@pytest.mark.slow  # an hour
@pytest.mark.skipif(SECONDS is None or not IS_TOLD, reason="make test-soak runs it, on Linux")
async def test_the_memory_of_a_server_under_load_stays_flat(
    deployment: Deployment, record_property: Callable[[str, object], None]
) -> None:
    server = await deployment.serve()
    (child,) = server.children()
    deadline = time.monotonic() + float(SECONDS or 0)
    async with deployment.clients() as (sdk, _):
        load = [asyncio.create_task(_keep_busy(sdk, number, deadline)) for number in range(CLIENTS)]
        sizes: list[int] = []
        while time.monotonic() < deadline:
            sizes.append(memory_of(child))
            # Not a wait for anything: the time between two looks.
            await asyncio.wait(load, timeout=float(SECONDS or 0) / 200)
        runs = sum(await asyncio.gather(*load))
    quarter = len(sizes) // 4
    early, late = median(sizes[quarter : 2 * quarter]), median(sizes[-quarter:])
    told = f"{runs} runs in {SECONDS} s; memory {early / 1e6:.1f} MB after a quarter, {late / 1e6:.1f} at the end"
    record_property("summary", told)
    assert server.children() == [child]
    assert late < early * GROWTH + SLACK, told


async def _keep_busy(sdk: LangGraphClient, number: int, deadline: float) -> int:
    """Follow one run after the other, each on a thread of its own; return how many there were."""
    done = 0
    while time.monotonic() < deadline:
        listener = Listener(sdk, "line", f"soak {number} {done}")
        await listener.ended()
        assert listener.attempts() == [1]
        done += 1
    return done
