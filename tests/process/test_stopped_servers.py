"""SIGTERM under load: everything accepted ends, streams go on elsewhere, and nothing is lost or done twice."""

import asyncio
import signal
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener, logged, start_until_executed_by
from threadline.tests.process.projects import Project

RUNS = 50
WAITS = 5
STEPS = 16
LOAD: dict[str, Any] = {"input": {"steps": STEPS, "pace": 0.13}}
DRAIN = 1.5
GRACE = {"BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": str(DRAIN)}
# What stopping takes besides, with PostgreSQL and the machine's other work.
MARGIN = 5.0


def start_load(sdk: LangGraphClient, number: int) -> Listener:
    # That the server goes away is not that the client does.
    on_disconnect = "cancel" if number % 2 else "continue"
    return Listener(sdk, "counting", f"load {number}", stream_mode=["updates"], on_disconnect=on_disconnect, **LOAD)


async def wait(sdk: LangGraphClient, project: Project, name: str) -> None:
    """Wait for a run's result, as the SDK does: wherever the server tells it to go on waiting."""
    values: Any = await sdk.runs.wait(
        str(uuid4()), "counting", input={"name": name, **LOAD["input"]}, if_not_exists="create", on_disconnect="cancel"
    )
    assert len(values["log"]) == STEPS
    assert_each_step_once(project, name)


def assert_each_step_once(project: Project, name: str) -> None:
    assert project.starts(name) == {f"step{number}": 1 for number in range(STEPS)}


async def assert_ended_once(http: httpx.AsyncClient, project: Project, listener: Listener) -> None:
    await listener.ended()
    assert listener.parts == await logged(http, listener)
    assert len(listener.reports()) == STEPS
    assert set(listener.reports().values()) == {1}
    assert_each_step_once(project, listener.name)


async def post_until_refused(http: httpx.AsyncClient, names: list[str]) -> list[dict[str, str]]:
    """Start one run after the other until nobody answers any more; return those that were accepted."""
    accepted: list[dict[str, str]] = []
    while True:
        name = f"posted {len(names)}"
        names.append(name)
        body = {"assistant_id": "line", "input": {"name": name}, "if_not_exists": "create"}
        try:
            answer = await http.post(f"/threads/{uuid4()}/runs", json=body)
        except httpx.TransportError:
            return accepted
        assert answer.status_code in (200, 503), answer.text
        if answer.is_success:
            accepted.append(answer.json() | {"name": name})


# The SDK says that it goes on waiting elsewhere; that it does is what is tested.
@pytest.mark.filterwarnings("ignore:Request failed, attempting reconnect:UserWarning")
@pytest.mark.slow  # load on two servers: ten seconds
async def test_everything_accepted_before_sigterm_ends_once_after_another_start(deployment: Deployment) -> None:
    server = await deployment.serve(**GRACE)
    async with deployment.clients() as (sdk, http):
        listeners = [start_load(sdk, number) for number in range(RUNS)]
        for listener in listeners:
            await listener.saw("updates", "count")
        waiting = [asyncio.create_task(wait(sdk, deployment.project, f"wait {number}")) for number in range(WAITS)]
        await until(lambda: deployment.project.starts(f"wait {WAITS - 1}"), "the last of those who wait is served")
        posting = asyncio.create_task(post_until_refused(http, []))
        told = time.monotonic()
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert time.monotonic() - told < DRAIN + MARGIN
        accepted = await posting

        await deployment.serve()
        for listener in listeners:
            await assert_ended_once(http, deployment.project, listener)
        await asyncio.gather(*waiting)
        handed_back = [listener for listener in listeners if listener.attempts() == [1, 2]]
        assert len(handed_back) > RUNS / 2
        for run in accepted:
            answer = await http.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/join")
            assert answer.raise_for_status().json()["log"] == ["a", "b", "c"]
            assert deployment.project.starts(run["name"]) == {"a": 1, "b": 1, "c": 1}
        await deployment.assert_each_run_ended_once()


@pytest.mark.slow  # several programs, one after the other
async def test_a_stopped_worker_hands_its_runs_to_another_one(split: Deployment) -> None:
    worker = await split.work(**GRACE)
    async with split.clients() as (sdk, http):
        listeners = await start_until_executed_by(split.project, worker.pid, lambda number: start_load(sdk, number))
        handed = [listener for listener in listeners if split.project.pid_of(listener.name) == worker.pid]
        assert handed
        assert await worker.stop() == 0
        for listener in listeners:
            await assert_ended_once(http, split.project, listener)
            assert listener.attempts() == ([1, 2] if listener in handed else [1])
