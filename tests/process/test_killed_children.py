"""kill -9 of one of several processes in mid-run: another one takes its runs up, and whoever waits gets the answer."""

import asyncio
import os
import signal
import time
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener, logged, parse, replay, start_until_executed_by
from threadline.tests.process.programs import Program

RECOVERY_SECONDS = 10.0
# As they are by default, because the time that recovery takes is measured.
LEASE = {"THREADLINE_LEASE_SECONDS": "3", "THREADLINE_LEASE_RENEW_SECONDS": "0.5"}
HEARTBEAT = {"THREADLINE_HEARTBEAT_SECONDS": "0.2"}


async def connect_to(program: Program, child: int, http: httpx.AsyncClient) -> None:
    """Open a connection that this child accepts, because the others cannot; the client's next request uses it."""
    others = [pid for pid in program.children() if pid != child]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        answer = await http.get("/ok")
        answer.raise_for_status()
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


async def replaced(server: Program, survivor: int) -> set[int]:
    """Wait until the survivor has a child beside it, which may have only begun to start, and return that."""

    def others() -> set[int]:
        assert server.process.poll() is None, server.said()
        return set(server.children()) - {survivor}

    found: set[int] = await until(others, "the killed child is replaced")
    return found


async def join(sdk: LangGraphClient, listener: Listener) -> Any:
    return await sdk.runs.join(listener.thread_id, listener.run_id)


async def wait_behind(sdk: LangGraphClient, listener: Listener) -> Any:
    return await sdk.runs.wait(listener.thread_id, "echoing", input={"name": "behind it"})


async def until_steady(deployment: Deployment) -> None:
    """Wait until all processes have held their leases long enough to declare others dead."""
    statement = "select bool_and(steady_since < clock_timestamp() - interval '3 s') from processes"

    async def is_steady() -> bool:
        return bool((await deployment.rows(statement))[0][0])

    await until(is_steady, "all processes have held their leases for one lease")


async def recovery(deployment: Deployment, name: str) -> float:
    """Return the seconds from now until node b of that run is started a second time."""
    killed = time.monotonic()
    await until(lambda: deployment.project.starts(name)["b"] == 2, f"b of {name} is started again")
    return time.monotonic() - killed


@pytest.mark.slow  # many programs: ten seconds
async def test_another_child_takes_up_the_runs_of_a_killed_one(deployment: Deployment) -> None:
    server = await deployment.serve("--workers", "2", **LEASE, **HEARTBEAT)
    victim, survivor = server.children()
    async with (
        get_client(url=deployment.url, api_key=None) as sdk,
        httpx.AsyncClient(base_url=deployment.url, timeout=30) as joiner,
        httpx.AsyncClient(base_url=deployment.url, timeout=30) as waiter,
        httpx.AsyncClient(base_url=deployment.url, timeout=30) as reader,
    ):
        await connect_to(server, victim, sdk.http.client)
        for other in (joiner, waiter, reader):
            await connect_to(server, survivor, other)
        listener = Listener(sdk, "line", "taken up", input={"gates": ["b"]})
        await listener.saw("updates", "a")
        await until(lambda: deployment.project.starts("taken up")["b"], "b starts")
        assert deployment.project.pid_of("taken up") == victim
        thread = f"/threads/{listener.thread_id}/runs"
        run = f"{thread}/{listener.run_id}"
        next_run = {"assistant_id": "echoing", "input": {"name": "behind it"}}
        async with (
            joiner.stream("GET", f"{run}/join") as joined,
            waiter.stream("POST", f"{thread}/wait", json=next_run) as waited,
            reader.stream("GET", f"{run}/stream", headers={"last-event-id": "-1"}) as followed,
        ):
            await until_steady(deployment)
            os.kill(victim, signal.SIGKILL)
            seconds = await recovery(deployment, "taken up")
            print(f"\nrecovery from kill -9 of one child of serve --workers 2: {seconds:.2f} s")
            deployment.project.open_gate("taken up", "b")
            for answer in (joined, waited, followed):
                await asyncio.wait_for(answer.aread(), 20)
        await listener.ended()
        assert deployment.project.pid_of("taken up") == survivor
        assert joined.json()["log"] == ["a", "b", "c"]
        assert waited.json()["log"] == ["a", "b", "c", "given back"]
        assert parse(followed.content) == await replay(reader, listener.thread_id, listener.run_id)
        assert listener.attempts() == [1, 2]
        assert listener.parts == await logged(reader, listener)
    assert deployment.project.starts("taken up") == {"a": 1, "b": 2, "c": 1}
    assert seconds < RECOVERY_SECONDS
    (second,) = await replaced(server, survivor)
    await until(lambda: server.said().count("child.ready") == 3, "the killed child is replaced by one that serves")
    os.kill(second, signal.SIGKILL)
    await until(lambda: second not in server.children(), "the second one is gone")
    (third,) = await replaced(server, survivor)
    # Now as early as it gets: this one has not even been told what it is to do.
    os.kill(third, signal.SIGKILL)
    await until(lambda: server.said().count("child.ready") == 4, "that one is replaced, too")


@pytest.mark.slow  # several programs, one after the other
async def test_another_worker_takes_up_the_runs_of_a_killed_one(split: Deployment) -> None:
    victim = await split.work(**LEASE)
    async with split.clients() as (sdk, http):
        listeners = await start_until_executed_by(
            split.project,
            victim.pid,
            lambda number: Listener(sdk, "line", f"run {number}", input={"gates": ["b"]}),
        )
        *others, lost = listeners
        await until(lambda: split.project.starts(lost.name)["b"], "b starts")
        joined = asyncio.create_task(join(sdk, lost))
        waited = asyncio.create_task(wait_behind(sdk, lost))
        await until_steady(split)
        victim.kill()
        seconds = await recovery(split, lost.name)
        print(f"\nrecovery from kill -9 of one of two workers: {seconds:.2f} s")
        for listener in listeners:
            split.project.open_gate(listener.name, "b")
        for listener in listeners:
            await listener.ended()
            assert listener.attempts() == ([1] if listener in others else [1, 2])
            assert listener.parts == await logged(http, listener)
        assert (await joined)["log"] == ["a", "b", "c"]
        assert (await waited)["log"] == ["a", "b", "c", "given back"]
    assert seconds < RECOVERY_SECONDS
