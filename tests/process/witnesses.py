"""Owns runs that are in flight while something breaks around their process, and what must be true of them later."""

from functools import partial

from httpx import AsyncClient
from langgraph_sdk.client import LangGraphClient

from threadline.tests.laboratory.locks import until
from threadline.tests.process.listeners import Listener, logged
from threadline.tests.process.projects import Project

DURABILITIES = ("sync", "async", "exit")
STEPS = 60


class Witnesses:
    """Runs of each durability: some that work on without pause, some that wait in a node until the trouble is over."""

    def __init__(self, sdk: LangGraphClient, project: Project, name: str) -> None:
        self._project = project
        state = {"steps": STEPS, "pace": 0.01}
        self._held = [
            Listener(sdk, "line", f"{name} held {way}", input={"gates": ["b"]}, durability=way) for way in DURABILITIES
        ]
        self._counting = [
            Listener(sdk, "counting", f"{name} counting {way}", input=state, durability=way) for way in DURABILITIES
        ]

    async def under_way(self) -> None:
        """Wait until all of them are at work."""
        for listener in self._held:
            await until(partial(self._has_started, listener.name), f"b of {listener.name} starts")
        for listener in self._counting:
            await listener.saw("updates")

    def _has_started(self, name: str) -> bool:
        return self._project.starts(name)["b"] > 0

    async def assert_unharmed(self, http: AsyncClient) -> None:
        """No attempt was lost, nothing was done or told twice, and no stream was cut."""
        for listener in self._held:
            assert not listener.task.done()
            self._project.open_gate(listener.name, "b")
        for listener in (*self._held, *self._counting):
            await listener.ended()
            assert listener.attempts() == [1]
            assert listener.parts == await logged(http, listener)
            assert set(listener.reports().values()) == {1}
            starts = self._project.starts(listener.name)
            assert set(starts) == set(listener.reporting_attempts())
            assert set(starts.values()) == {1}
