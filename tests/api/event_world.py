"""Owns a raw client of the event-streaming protocol: commands, and streams that are read event by event."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx

ALL = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"]
ENDS = ("completed", "failed", "interrupted")

Event = dict[str, Any]


class Thread:
    """A thread as a client of the protocol sees it; it exists from the first run on."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.id = str(uuid4())
        self._numbers = itertools.count(1)

    def send(self, method: str, **params: Any) -> Event:
        """Send a command and return its answer."""
        command = {"id": next(self._numbers), "method": method, "params": params}
        answer = self.http.post(f"/threads/{self.id}/commands", json=command)
        assert answer.status_code == 200, answer.text
        body: Event = answer.json()
        assert body["id"] == command["id"]
        return body

    def do(self, method: str, **params: Any) -> Any:
        """Send a command and return its result."""
        answer = self.send(method, **params)
        assert answer["type"] == "success", answer
        return answer["result"]

    def refused(self, method: str, **params: Any) -> str:
        """Send a command that is refused, and return the code."""
        answer = self.send(method, **params)
        assert answer["type"] == "error", answer
        assert answer["message"]
        return str(answer["error"])

    def start(self, graph: str, input: Any = None, **params: Any) -> str:
        """Start a run and return its id."""
        return str(self.do("run.start", assistant_id=graph, input=input, **params)["run_id"])

    @contextmanager
    def stream(self, channels: list[str] | None = None, **more: Any) -> Iterator[Iterator[Event]]:
        """Open a stream of the events; leaving the block closes the connection."""
        body = {"channels": channels or ALL, **more}
        with self.http.stream("POST", f"/threads/{self.id}/stream/events", json=body) as response:
            response.raise_for_status()
            yield _events(response)

    def read(self, channels: list[str] | None = None, *, runs: int = 1, **more: Any) -> list[Event]:
        """Return the events up to the end of that many runs."""
        wanted = channels or ALL
        found = []
        with self.stream([*wanted, "lifecycle"], **more) as events:
            for event in events:
                if event["method"] != "lifecycle" or "lifecycle" in wanted:
                    found.append(event)
                runs -= is_end(event)
                if not runs:
                    return found
        raise AssertionError("the stream ended before the run")

    def settled(self, channels: list[str] | None = None, **more: Any) -> list[Event]:
        """Return what a stream has to tell until it is silent for a heartbeat, of runs that have ended."""
        body = {"channels": channels or ALL, **more}
        found: list[Event] = []
        with self.http.stream("POST", f"/threads/{self.id}/stream/events", json=body) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith(":"):
                    return found
                if line.startswith("data: "):
                    found.append(json.loads(line.removeprefix("data: ")))
        raise AssertionError("the stream ended")


def parse(frame: str | bytes) -> Event:
    """Return what a frame of a WebSocket holds."""
    message: Event = json.loads(frame)
    return message


def is_end(event: Event) -> bool:
    """Whether the event is the end of a run."""
    at_root = event["method"] == "lifecycle" and not event["params"]["namespace"]
    return at_root and data(event)["event"] in ENDS


def data(event: Event) -> Any:
    """What the event tells."""
    return event["params"]["data"]


def of(events: list[Event], method: str) -> list[Any]:
    """What the events of one method tell."""
    return [data(event) for event in events if event["method"] == method]


def _events(response: httpx.Response) -> Iterator[Event]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
