"""Owns the catalogue: the scenarios by name, what each is handed, and how all of them are played against a server."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from threadline.tests.contract.comparing import STOPPED
from threadline.tests.contract.exchanges import Exchange, RecordingTransport
from threadline.tests.contract.hooks import Receiver, receive_hooks
from threadline.tests.contract.normalising import Labels, Normal

AREAS = (
    "assistants",
    "threads",
    "states",
    "runs",
    "streams",
    "waiting",
    "multitask",
    "stateless",
    "store",
    "crons",
    "webhooks",
    "events",
    "sockets",
    "agents",
    "system",
    "access",
)
# Areas that are played against a server with another project.
PROJECTS = {"access": "guarded_project"}
AT_ONCE = 8
DEADLINE_SECONDS = 60
PATIENCE_SECONDS = 20
FINAL = {"success", "error", "timeout", "interrupted"}


@dataclass
class Caller:
    """What a scenario calls a server with. Calls by `sdk` and `http` are compared, those by `quiet` are not."""

    name: str
    sdk: LangGraphClient
    http: httpx.AsyncClient
    quiet: httpx.AsyncClient
    gates: Path
    transport: RecordingTransport
    hooks: Receiver
    gate_count: int = field(default=0)

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a request that the official client can't, or whose answer it hides."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} | options.pop("headers", {})
        return await self.http.request(method, path, content=content, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return await self.call("POST", path, body, **options)

    async def post_each(self, path: str, *bodies: Any) -> None:
        """Send each of these in a request of its own."""
        for body in bodies:
            await self.post(path, body)

    async def delete(self, path: str, body: Any = None) -> httpx.Response:
        return await self.call("DELETE", path, body)

    async def patch(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return await self.call("PATCH", path, body, **options)

    async def put(self, path: str, body: Any = None) -> httpx.Response:
        return await self.call("PUT", path, body)

    async def refused(self, call: Awaitable[Any]) -> None:
        """Make a call that the official client should raise for, and keep what it raises."""
        raised = "nothing"
        try:
            await call
        except Exception as error:
            raised = type(error).__name__
        self.transport.exchanges[-1].raised = raised

    async def events(self, path: str, *, until: Callable[[Exchange], bool], **options: Any) -> None:
        """Read a stream that does not end by itself, until `until` says that there is enough."""
        async with self.http.stream(options.pop("method", "GET"), path, **options) as response:
            exchange = self.transport.exchanges[-1]
            async for _ in response.aiter_raw():
                if until(exchange):
                    return

    async def speak(self, path: str, *frames: Any, until: Callable[[list[Any]], bool]) -> None:
        """Send frames over a WebSocket, one after the other, and read until `until` says that there is enough.

        Kept as one exchange: what was sent, and the answers and events that came; which of them overtakes the other is
        nobody's promise. A text is sent as it stands.
        """
        exchange = Exchange("SOCKET", path, json.dumps(frames).encode(), status=101)
        self.transport.exchanges.append(exchange)
        url = str(self.http.base_url).replace("http", "ws", 1).rstrip("/")
        came: list[Any] = []
        try:
            async with connect(f"{url}{path}", close_timeout=0, proxy=None) as socket:
                for frame in frames:
                    await socket.send(frame if isinstance(frame, str) else json.dumps(frame))
                    await self._listen(socket, came, len(came) + 1)
                while not until(came):
                    await self._listen(socket, came, len(came) + 1)
        except InvalidStatus as error:
            exchange.status = error.response.status_code
        except ConnectionClosed as error:
            came.append({"closed": error.rcvd.code if error.rcvd else None})
        events = [frame for frame in came if frame.get("type") == "event"]
        answers = [frame for frame in came if frame not in events]
        exchange.received = json.dumps({"answers": answers, "events": events}).encode()

    async def _listen(self, socket: ClientConnection, came: list[Any], count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(came) < count:
                came.append(json.loads(await socket.recv()))

    def gate(self) -> str:
        """Return the name of a gate that is closed."""
        self.gate_count += 1
        return f"{self.name}-{self.gate_count}"

    def open(self, gate: str) -> None:
        """Let the nodes pass that wait at `gate`."""
        (self.gates / gate).touch()

    async def thread(self, **body: Any) -> str:
        """Return a new thread."""
        made = await self.quiet.post("/threads", json=body)
        assert made.status_code == 200, made.text
        thread_id: str = made.json()["thread_id"]
        return thread_id

    async def thread_after(self, graph: str, **body: Any) -> str:
        """Return a thread on which a run of `graph` has ended."""
        thread_id = await self.thread()
        made = await self.quiet.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": graph} | body)
        assert made.status_code == 200, made.text
        return thread_id

    async def start(self, thread_id: str, graph: str, **body: Any) -> str:
        """Start a run in the background, and return it."""
        made = await self.quiet.post(f"/threads/{thread_id}/runs", json={"assistant_id": graph} | body)
        assert made.status_code == 200, made.text
        run_id: str = made.json()["run_id"]
        return run_id

    async def at_gate(self, thread_id: str, gate: str) -> str:
        """Return a run that has come to `gate`."""
        run_id = await self.start(thread_id, "gated", input={"gate": gate})
        await self.until(f"/threads/{thread_id}/state", lambda state: state["next"] == ["wait"])
        await self.until(f"/threads/{thread_id}/runs/{run_id}", lambda run: run["status"] == "running")
        return run_id

    async def ended(self, thread_id: str, run_id: str) -> None:
        """Wait until a run has ended, or is gone."""
        await self.until(
            f"/threads/{thread_id}/runs/{run_id}", lambda run: run.get("status", "gone") in FINAL | {"gone"}
        )

    async def hooked(self, count: int) -> None:
        """Wait until so many webhooks have come, and take them for calls."""

        async def have_come() -> bool:
            return len(self.hooks.exchanges) >= count

        await self.eventually(have_come)
        self.transport.exchanges += self.hooks.exchanges
        self.hooks.exchanges.clear()

    async def eventually(self, ask: Callable[[], Awaitable[Any]], seconds: float = PATIENCE_SECONDS) -> Any:
        """Return the first true answer of `ask`."""
        async with asyncio.timeout(seconds):
            while True:
                if answer := await ask():
                    return answer
                await asyncio.sleep(0.02)

    async def until(self, path: str, condition: Callable[[Any], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until what `path` answers with fulfils a condition."""

        async def fulfils() -> bool:
            return condition((await self.quiet.get(path)).json())

        await self.eventually(fulfils, seconds)


Play = Callable[[Caller], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A part of the catalogue; one that is `alone` disturbs others, or is disturbed by them."""

    area: str
    name: str
    play: Play
    alone: bool

    @property
    def project(self) -> str:
        """The project that the server has."""
        return PROJECTS.get(self.area, "project")


SCENARIOS: dict[str, Scenario] = {}


def scenario(play: Play) -> Play:
    """Enter a scenario into the catalogue, under the names of its module and function."""
    return _enter(play, alone=False)


def scenario_alone(play: Play) -> Play:
    """Enter a scenario that is played while nothing else is."""
    return _enter(play, alone=True)


def _enter(play: Play, *, alone: bool) -> Play:
    area, name = play.__module__.rsplit(".", 1)[-1], getattr(play, "__name__", "")
    assert name not in SCENARIOS, f"two scenarios are called {name}"
    SCENARIOS[name] = Scenario(area, name, play, alone)
    return play


def load_catalogue() -> list[Scenario]:
    """Return all scenarios."""
    for area in AREAS:
        import_module(f"threadline.tests.contract.scenarios.{area}")
    return list(SCENARIOS.values())


def by_project(scenarios: list[Scenario]) -> dict[str, list[Scenario]]:
    """Return the scenarios by the project they are played with."""
    found: dict[str, list[Scenario]] = {}
    for each in scenarios:
        found.setdefault(each.project, []).append(each)
    return found


@asynccontextmanager
async def _caller(name: str, url: str, gates: Path) -> AsyncIterator[Caller]:
    transport = RecordingTransport()
    timeout = httpx.Timeout(DEADLINE_SECONDS)
    async with (
        httpx.AsyncClient(base_url=url, transport=transport, timeout=timeout) as http,
        httpx.AsyncClient(base_url=url, timeout=timeout) as quiet,
        receive_hooks() as hooks,
    ):
        yield Caller(name, LangGraphClient(http), http, quiet, gates, transport, hooks)


async def play(scenario: Scenario, url: str, gates: Path) -> list[Normal]:
    """Play a scenario and return its calls, normalised; a scenario that can't go on says why in a last one."""
    async with _caller(scenario.name, url, gates) as caller:
        stopped: list[Normal] = []
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await scenario.play(caller)
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)
            line = next((each.line for each in at if each.filename.endswith(f"{scenario.area}.py")), "")
            stopped = [{"call": STOPPED, "status": 0, "body": f"{error!r} at {line}"}]
        labels = Labels({url: "<url>", caller.hooks.url: "<hook>"})
        return [labels.exchange(exchange) for exchange in caller.transport.exchanges] + stopped


Played = dict[str, list[Normal]]


async def play_all(scenarios: list[Scenario], url: str, gates: Path) -> Played:
    """Play scenarios, several at once, and return the calls of each."""
    places = asyncio.Semaphore(AT_ONCE)

    async def play_one(scenario: Scenario) -> list[Normal]:
        async with places:
            return await play(scenario, url, gates)

    together = [each for each in scenarios if not each.alone]
    calls = await asyncio.gather(*map(play_one, together))
    played = {each.name: of_one for each, of_one in zip(together, calls, strict=True)}
    for each in scenarios:
        if each.alone:
            played[each.name] = await play_one(each)
    return {each.name: played[each.name] for each in scenarios}
