"""Owns an engine on a test's own database, with the graphs of `life_graphs` and short times."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from threadline.checkpoints.pool import Database
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry, system_assistant_id
from threadline.runs.engine import Engine, EngineSettings, open_engine
from threadline.runs.identity import uuid7
from threadline.runs.model import JsonObject, LogEvent, Run, RunRequest

GRAPHS = Path(__file__).with_name("life_graphs.py")
NAMES = ("steps", "asking", "waiting", "answering", "failing", "unstorable", "flooding", "looping")
SHORT = EngineSettings(
    executes=True,
    concurrency=16,
    lease=timedelta(seconds=0.6),
    lease_renew=timedelta(seconds=0.1),
    poll=timedelta(seconds=0.1),
    run_timeout=timedelta(seconds=30),
    drain=timedelta(seconds=3),
    max_attempts=3,
    max_pending_runs=100,
)


def load_graphs(folder: Path) -> Registry:
    """Return the registry of the test graphs and of one that cannot be imported."""
    (folder / "broken.py").write_text("import nowhere_to_be_found\n")
    graphs = {name: f"{GRAPHS}:{name}" for name in NAMES} | {"broken": "./broken.py:graph"}
    file = folder / "langgraph.json"
    file.write_text(json.dumps({"dependencies": ["."], "graphs": graphs}))
    return Registry(load_configuration(file))


@dataclass
class World:
    """One engine and what tests do with it."""

    engine: Engine
    registry: Registry
    database: Database

    def ask_for(self, graph: str, graph_input: Any = None, **changes: Any) -> RunRequest:
        """A request for a run; on a thread of its own unless `thread_id` is given."""
        fresh = "thread_id" not in changes
        kwargs: JsonObject = {"input": graph_input, **changes.pop("kwargs", {})}
        request = RunRequest(
            run_id=uuid7(),
            thread_id=changes.pop("thread_id", None) or uuid7(),
            assistant_id=system_assistant_id(graph),
            graph_id=graph,
            kwargs=kwargs,
            metadata={},
            inherited_metadata={},
            fresh_thread=fresh,
        )
        return replace(request, **changes)

    async def start(self, graph: str, **changes: Any) -> Run:
        """Create a run with an input."""
        return await self.engine.queue.create(self.ask_for(graph, {"log": ["in"]}, **changes))

    async def answer(self, run: Run) -> Any:
        """What waiting for the run answers."""
        async with asyncio.timeout(20):
            result = await self.engine.tails.result(run)
        return None if result is None else orjson.loads(result)

    async def status(self, run: Run) -> str:
        return (await self.engine.queue.get(run.thread_id, run.run_id)).status

    async def thread_status(self, run: Run) -> str:
        return (await self.engine.threads.get(run.thread_id)).status

    async def events(self, thread_id: UUID) -> list[LogEvent]:
        """Everything the thread's log holds."""
        last = await self.engine.tails.last_seq(thread_id)
        events: list[LogEvent] = []
        async with asyncio.timeout(20), self.engine.tails.follow(thread_id, 0) as subscription:
            while not events or events[-1].seq < last:
                for row in await subscription.next_rows(5):
                    events += row.events(events[-1].seq if events else 0)
        return events

    async def reach(self, run: Run, name: str, count: int = 1) -> None:
        """Wait until the run has logged so many events of that name."""
        seen = 0
        async with asyncio.timeout(20), self.engine.tails.follow(run.thread_id, run.start_seq) as subscription:
            while seen < count:
                for row in await subscription.next_rows(5):
                    seen += sum(event.name == name for event in row.events() if event.run_id == run.run_id)


@asynccontextmanager
async def open_world(database: Database, registry: Registry, **changes: Any) -> AsyncIterator[World]:
    async with open_engine(database, registry, replace(SHORT, **changes)) as engine:
        yield World(engine, registry, database)


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110  # it happens in the database, where no event is set
            await asyncio.sleep(0.02)
