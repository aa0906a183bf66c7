"""Owns the clients of a served project: the official SDK, which resumes by itself, and plain readers of the log."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
from langgraph_sdk.client import LangGraphClient

from threadline.tests.laboratory.locks import until
from threadline.tests.process.projects import Project

MODES = ("values", "updates", "messages-tuple", "custom")


class Event(NamedTuple):
    """One event of a stream, as the bytes of its fields."""

    name: str
    data: str
    id: str


class Part(NamedTuple):
    """One event as the SDK hands it out."""

    name: str
    data: Any
    id: str | None

    @property
    def mode(self) -> str:
        """The name without the subgraph."""
        return self.name.partition("|")[0]


class Listener:
    """A client that starts a run and follows it to its end, wherever that takes it."""

    def __init__(
        self, client: LangGraphClient, graph: str, name: str, *, thread_id: str | None = None, **run: Any
    ) -> None:
        """`run` is what the SDK takes; without an `input` or `command` the input is the run's name."""
        self.name = name
        self.thread_id = thread_id or str(uuid4())
        self.run_id = ""
        self.parts: list[Part] = []
        self._client = client
        if "command" not in run:
            run["input"] = {"name": name, "gates": [], **run.get("input", {})}
        self._arguments = {"stream_mode": list(MODES), "stream_subgraphs": True, "if_not_exists": "create", **run}
        self.task = asyncio.create_task(self._listen(graph), name=f"listener/{name}")

    async def _listen(self, graph: str) -> None:
        stream = self._client.runs.stream(self.thread_id, graph, on_run_created=self._note, **self._arguments)
        async for part in stream:
            self.parts.append(Part(part.event, part.data, part.id))

    def _note(self, created: Any) -> None:
        self.run_id = created["run_id"]

    async def saw(self, name: str, node: str = "") -> None:
        """Wait until an event of that mode came, and one in which `node` reports its work if that is given."""

        def has_come() -> bool:
            if self.task.done():
                self.task.result()
            return any(part.mode == name and (not node or node in part.data) for part in self.parts)

        await until(has_come, f"{self.name} sees {name} of {node or 'any node'}")

    async def accepted(self) -> None:
        """Wait until the server has accepted the run."""
        await until(lambda: self.run_id, f"the run of {self.name} is accepted")

    async def ended(self, seconds: float = 60.0) -> None:
        """Wait until the stream has ended well."""
        async with asyncio.timeout(seconds):
            await self.task

    def reports(self) -> Counter[str]:
        """How often each piece of work, and each state, was reported."""
        return Counter(f"{part.name} {part.data}" for part in self.parts if part.mode in ("updates", "values"))

    def attempts(self) -> list[int]:
        """The attempts that its `metadata` events announced, in order."""
        return [part.data["attempt"] for part in self.parts if part.name == "metadata"]

    def reporting_attempts(self) -> dict[str, int]:
        """The attempt in which each piece of work was reported, by what it added to the log."""
        found: dict[str, int] = {}
        attempt = 0
        for part in self.parts:
            if part.name == "metadata":
                attempt = part.data["attempt"]
            elif part.mode == "updates":
                # A subgraph reports once more what its nodes have reported.
                found |= {update["log"][-1]: attempt for node, update in part.data.items() if node != "sub"}
        return found

    def attempt(self, number: int) -> list[Part]:
        """What came between the `metadata` event of that attempt and the next one's."""
        starts = [position for position, part in enumerate(self.parts) if part.name == "metadata"]
        bounds = [*starts, len(self.parts)]
        return self.parts[bounds[number - 1] : bounds[number]]


async def start_until_executed_by(project: Project, pid: int, start: Callable[[int], Listener]) -> list[Listener]:
    """Start one listener after the other until that process executes the run of one, and return them all."""
    listeners: list[Listener] = []
    while not any(project.pid_of(listener.name) == pid for listener in listeners):
        assert len(listeners) < 100
        listeners.append(start(len(listeners)))
        await listeners[-1].saw("updates")
    return listeners


def parse(body: bytes) -> list[Event]:
    """Read the frames of a whole stream; signs of life are left out."""
    frames = [frame for frame in body.decode().split("\r\n\r\n") if frame and not frame.startswith(":")]
    fields = [dict(line.split(": ", 1) for line in frame.split("\r\n")) for frame in frames]
    return [Event(field["event"], field["data"], field["id"]) for field in fields]


async def replay(http: httpx.AsyncClient, thread_id: str, run_id: str, last_event_id: str = "-1") -> list[Event]:
    """Return what the log holds of a run behind an event."""
    answer = await http.get(f"/threads/{thread_id}/runs/{run_id}/stream", headers={"last-event-id": last_event_id})
    return parse(answer.raise_for_status().content)


async def logged(http: httpx.AsyncClient, listener: Listener) -> list[Part]:
    """Return what the log holds of a listener's run, in the form in which the listener has it."""
    events = await replay(http, listener.thread_id, listener.run_id)
    return [Part(event.name, json.loads(event.data), event.id) for event in events]


async def run_status(http: httpx.AsyncClient, thread_id: str, run_id: str) -> str:
    answer = await http.get(f"/threads/{thread_id}/runs/{run_id}")
    status: str = answer.raise_for_status().json()["status"]
    return status
