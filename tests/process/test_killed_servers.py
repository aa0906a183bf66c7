"""kill -9 of everything that `threadline serve` started, in mid-run, and what becomes of it after another start."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient
from langgraph_sdk.client import LangGraphClient

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import Listener, logged, run_status
from threadline.tests.process.programs import Program
from threadline.tests.process.projects import Project

LETTERS = "abcdefghijklmnopqrst"


@dataclass(frozen=True)
class Case:
    """A run that is killed while the node `held` waits at its gate; the work of `kept` has been reported by then."""

    graph: str
    held: str
    kept: tuple[str, ...]
    answers: bool = False

    async def start(self, sdk: LangGraphClient, durability: str) -> Listener:
        """Start it, behind a question that it answers if it is to."""
        name = f"{self.graph}-{self.held}-{durability}"
        run: dict[str, Any] = {"durability": durability}
        state = {"gates": [self.held]}
        if not self.answers:
            return Listener(sdk, self.graph, name, input=state, **run)
        asked = Listener(sdk, self.graph, name, input=state, **run)
        await asked.ended()
        assert "__interrupt__" in asked.parts[-1].data
        return Listener(sdk, self.graph, name, thread_id=asked.thread_id, command={"resume": "yes"}, **run)


CASES = (
    Case("line", "b", ("a",)),
    Case("fork", "right", ("first", "left")),
    Case("nested", "inner_b", ("a", "inner_a")),
    Case("talking", "talk", ("a",)),
    Case("asking", "ask", (), answers=True),
    Case("asking", "b", ("ask",), answers=True),
)


async def start_waiting(sdk: LangGraphClient, name: str, **run: Any) -> "asyncio.Task[Any]":
    """Have the SDK wait for a run, which it goes on doing at `Location` when it is cut off; it knows that already."""
    is_told = asyncio.Event()
    run |= {"input": {"name": name, "gates": ["b"]}, "on_run_created": lambda _: is_told.set()}
    thread_id: Any = str(uuid4()) if "if_not_exists" in run else None  # which decides for an overload of the SDK
    task = asyncio.create_task(sdk.runs.wait(thread_id, "line", **run), name=f"waiting/{name}")
    await asyncio.wait_for(is_told.wait(), 3)  # which is before the first heartbeat
    return task


def has_seen(listener: Listener, count: int) -> bool:
    return len(listener.parts) > count


async def kill_everything(deployment: Deployment, server: Program) -> None:
    """kill -9, and wait until nothing of it is left."""
    postmaster = deployment.postmaster
    server.kill()
    await deployment.without_postgres(postmaster)


async def is_held(project: Project, listener: Listener, case: Case) -> None:
    """Wait until the client knows of all work before the node that is held up, and this one has begun."""
    for node in case.kept:
        await listener.saw("updates", node)
    await until(lambda: project.starts(listener.name)[case.held], f"{case.held} of {listener.name} starts")


async def assert_ended_well(http: AsyncClient, listener: Listener) -> None:
    await listener.ended()
    assert await run_status(http, listener.thread_id, listener.run_id) == "success"
    assert listener.attempts() == [1, 2]
    assert listener.parts == await logged(http, listener)


def assert_reported_once(listener: Listener) -> None:
    assert set(listener.reports().values()) == {1}, listener.parts


def assert_ran_once_but_for(project: Project, listener: Listener, held: str) -> None:
    starts = project.starts(listener.name)
    assert starts.pop(held) == 2, starts
    assert set(starts.values()) == {1}, starts


def assert_spoke_again(listener: Listener) -> None:
    """A node that streamed tokens and was interrupted streams them again, behind the news of the new attempt."""
    for attempt in (1, 2):
        parts = listener.attempt(attempt)
        assert "".join(part.data[0]["content"] for part in parts if part.mode == "messages") == LETTERS
        assert [part.data for part in parts if part.mode == "custom"] == [{"said": LETTERS}]


def assert_went_on_from_what_was_committed(project: Project, counting: Listener) -> None:
    """A run that nobody held up: what was reported before the kill ran once, what was under way at most twice."""
    steps = counting.parts[-1].data["steps"]
    assert counting.parts[-1].data["log"] == [f"step{number}" for number in range(steps)]
    starts, attempts = project.starts(counting.name), counting.reporting_attempts()
    assert set(attempts.values()) == {1, 2}
    assert set(starts) == set(attempts)
    assert all(starts[step] <= attempts[step] for step in starts)
    if counting.name == "sync":
        assert starts.total() <= steps + 1


async def wait_across_a_restart(
    deployment: Deployment, server: Program, held: list[tuple[Case, Listener]], waiting: "list[asyncio.Task[Any]]"
) -> list[Any]:
    """Kill everything, let the runs go on, start again, and return what was waited for all the time."""
    await kill_everything(deployment, server)
    for case, listener in held:
        deployment.project.open_gate(listener.name, case.held)
    for name in ("whole", "waiting", "stateless"):
        deployment.project.open_gate(name, "b")
    await deployment.serve()
    return await asyncio.gather(*waiting)


async def test_every_run_ends_by_itself_after_all_processes_were_killed_in_mid_run(deployment: Deployment) -> None:
    project = deployment.project
    server = await deployment.serve()
    async with deployment.clients() as (sdk, http):
        held = [(case, await case.start(sdk, durability)) for case in CASES for durability in ("sync", "async")]
        whole = Listener(sdk, "line", "whole", input={"gates": ["b"]}, durability="exit")
        for case, listener in held:
            await is_held(project, listener, case)
        await until(lambda: project.starts("whole")["b"], "b of the run with durability exit starts")
        queued = Listener(sdk, "line", "queued", thread_id=held[0][1].thread_id)
        await queued.accepted()
        state = {"steps": 60, "pace": 0.01}
        counting = [Listener(sdk, "counting", way, input=state, durability=way) for way in ("sync", "async")]
        for listener in counting:
            await until(partial(has_seen, listener, 20), f"{listener.name} counts")

        waiting = [
            await start_waiting(sdk, "waiting", if_not_exists="create"),
            await start_waiting(sdk, "stateless"),
        ]
        await until(lambda: project.starts("waiting")["b"] and project.starts("stateless")["b"], "both are waited for")

        with pytest.warns(UserWarning, match="attempting reconnect"):
            answers = await wait_across_a_restart(deployment, server, held, waiting)
        for values in answers:
            assert values["log"] == ["a", "b", "c"]

        for case, listener in held:
            await assert_ended_well(http, listener)
            assert_reported_once(listener)
            assert_ran_once_but_for(project, listener, case.held)
            if case.graph == "talking":
                assert_spoke_again(listener)
        for listener in counting:
            await assert_ended_well(http, listener)
            assert_reported_once(listener)
            assert_went_on_from_what_was_committed(project, listener)
        await assert_ended_well(http, whole)
        assert project.starts("whole") == {"a": 2, "b": 2, "c": 1}
        await queued.ended()
        assert queued.attempts() == [1]
        assert queued.parts == await logged(http, queued)
        await deployment.assert_each_run_ended_once()
