"""Owns deploys of one graph: each version is a project of its own, any of them runs on the test's one database."""

import json
import textwrap
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg

from threadline.checkpoints.pool import Database
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.model import JsonObject, Run
from threadline.tests.laboratory.places import plain_of
from threadline.tests.runs.life_world import World, open_world

HEAD = """
import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    name: str


def step(name):
    return lambda state: {"log": [name]}


def ask(name):
    return lambda state: {"log": [f"{name}={interrupt({'asks': name})}"]}


def line(**nodes):
    builder = StateGraph(State)
    before = START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder


"""

ASKING = "graph = line(plan=step('plan'), ask=ask('ask'), act=step('act')).compile()"
RENAMED = "graph = line(plan=step('plan'), question=ask('question'), act=step('act')).compile()"
EXTENDED = "graph = line(plan=step('plan'), ask=ask('ask'), act=step('act'), report=step('report')).compile()"


def write_version(folder: Path, code: str, *, name: str = "agent", migrate: str = "", **keys: Any) -> Registry:
    """Write a project with a graph and load it; `keys` stand beside its path in langgraph.json."""
    folder.mkdir(parents=True)
    (folder / "agent.py").write_text(HEAD + textwrap.dedent(code) + "\n")
    if migrate:
        (folder / "moves.py").write_text(HEAD + textwrap.dedent(migrate) + "\n")
        keys |= {"on_version_change": "migrate", "migrate": "./moves.py:migrate"}
    content = {"dependencies": ["."], "graphs": {name: {"path": "./agent.py:graph", **keys}}}
    (folder / "langgraph.json").write_text(json.dumps(content))
    registry = Registry(load_configuration(folder / "langgraph.json"))
    assert dict(registry.errors) == {}
    return registry


@dataclass
class Deploys:
    """Starts versions of the graph on one database, one after the other or side by side."""

    database: Database
    folder: Path
    stack: AsyncExitStack
    _stops: dict[int, AsyncExitStack] = field(default_factory=dict)

    async def start(
        self, code: str, *, name: str = "agent", migrate: str = "", keys: JsonObject | None = None, **settings: Any
    ) -> World:
        """Start a process with this version."""
        folder = self.folder / f"v{len(self._stops) + 1}"
        registry = write_version(folder, code, name=name, migrate=migrate, **(keys or {}))
        stop = await self.stack.enter_async_context(AsyncExitStack())
        world = await stop.enter_async_context(open_world(self.database, registry, **settings))
        self._stops[id(world)] = stop
        return world

    async def stop(self, world: World) -> None:
        """Stop a process in order."""
        await self._stops[id(world)].aclose()

    async def pause(self, code: str = ASKING, **more: Any) -> tuple[World, Run]:
        """Have a thread that waits for an answer, and the process that brought it there."""
        world = await self.start(code, **more)
        run = await world.start("agent")
        await world.answer(run)
        assert await world.thread_status(run) == "interrupted"
        return world, run

    async def rows(self, statement: str, *parameters: Any) -> list[Any]:
        """Ask the database."""
        async with await psycopg.AsyncConnection.connect(plain_of(self.database), autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall() if cursor.description is not None else []

    async def checkpoints(self, thread_id: UUID) -> list[JsonObject]:
        """The metadata of the thread's checkpoints, oldest first."""
        statement = (
            "select metadata from checkpoints where thread_id = %s and checkpoint_ns = '' order by checkpoint_id"
        )
        return [metadata for (metadata,) in await self.rows(statement, str(thread_id))]


async def resume(world: World, run: Run, answer: Any = "yes", **changes: Any) -> tuple[Run, Any]:
    """Answer the thread's question and wait for what comes of it."""
    return await go_on(world, run, {"command": {"resume": answer}}, **changes)


async def go_on(world: World, run: Run, kwargs: JsonObject, **changes: Any) -> tuple[Run, Any]:
    """Run on the thread and wait for what comes of it."""
    again = await world.engine.queue.create(world.ask_for("agent", thread_id=run.thread_id, kwargs=kwargs, **changes))
    return again, await world.answer(again)


async def opening(world: World, run: Run) -> JsonObject:
    """What the log says about who made the run's last attempt."""
    events = [each for each in await world.events(run.thread_id) if each.run_id == run.run_id]
    return dict(orjson.loads([each for each in events if each.name == ".attempt_started"][-1].data))


async def open_deploys(database: Database, folder: Path) -> AsyncIterator[Deploys]:
    async with AsyncExitStack() as stack:
        yield Deploys(database, folder, stack)
