"""Owns the workbench of the invariant tests: one database, engines and processes on it, traces, gates and the log."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from threadline.checkpoints.pool import Database
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry, system_assistant_id
from threadline.runs.engine import Engine, EngineSettings, open_engine
from threadline.runs.identity import uuid7
from threadline.runs.model import LogEvent, LogRow, Run, RunRequest
from threadline.tests.laboratory import graphs
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.places import reach
from threadline.tests.laboratory.processes import EngineProcess, Orders

ALL_MODES = ["values", "updates", "custom"]

SETTINGS = EngineSettings(
    executes=True,
    concurrency=128,  # the claiming loop sets aside up to 64 places for the length of a statement
    lease=timedelta(seconds=2),
    lease_renew=timedelta(seconds=0.5),
    poll=timedelta(seconds=0.1),
    run_timeout=timedelta(minutes=1),
    drain=timedelta(seconds=0.6),
    max_attempts=5,
    max_pending_runs=10_000,
)


class Laboratory:
    """A database, and whatever the test starts on it; everything ends with the test."""

    never = timedelta(hours=1)  # a poll that no test waits for: what happens then, happens without it

    def __init__(self, dsn: str, folder: Path, stack: AsyncExitStack) -> None:
        self.dsn = dsn
        self.folder = folder
        self._stack = stack
        self.configuration = folder / "langgraph.json"
        source = graphs.__file__
        served = {name: f"{source}:{name}" for name in graphs.NAMES}
        self.configuration.write_text(json.dumps({"graphs": served}))
        self._registry: Registry | None = None
        self._connection: AsyncConnection[Any] | None = None
        self._folders = 0

    @property
    def database_name(self) -> str:
        return str(conninfo_to_dict(self.dsn)["dbname"])

    # What runs.

    @property
    def registry(self) -> Registry:
        if self._registry is None:
            self._registry = Registry(load_configuration(self.configuration))
        return self._registry

    async def open(self, conninfo: str | None = None, *, pooler: bool = False, **settings: Any) -> Engine:
        """Open an engine in this process, to the end of the test."""
        database = self.database(conninfo)
        if pooler:
            database = replace(database, pooler=True, direct_conninfo=None)
        opened = open_engine(database, self.registry, replace(SETTINGS, **settings))
        return await self._stack.enter_async_context(opened)

    def database(self, conninfo: str | None = None) -> Database:
        # Whoever names the way has something on it, and wants it to be the only one.
        return reach(conninfo or self.dsn, pooled=conninfo is None)

    async def start(self, *, clock_offset: float = 0.0, conninfo: str | None = None, **settings: Any) -> EngineProcess:
        """Start an engine in a process of its own, killed at the end of the test at the latest."""
        pooled = conninfo is None
        orders = Orders(conninfo or self.dsn, self.configuration, replace(SETTINGS, **settings), clock_offset, pooled)
        process = await asyncio.to_thread(EngineProcess, orders)
        self._stack.callback(process.kill)
        return process

    async def exit(self) -> None:
        """End everything that was started, before the test's own blocks end."""
        await self._stack.aclose()

    # What is asked for.

    def make_folder(self) -> Path:
        """A place for one run's traces and gates."""
        self._folders += 1
        folder = self.folder / f"run{self._folders}"
        folder.mkdir()
        return folder

    def request(self, graph_id: str, thread_id: UUID | None = None, **kwargs: Any) -> RunRequest:
        """A run of `graph_id`; keyword arguments that are fields of RunRequest are, the others are its kwargs."""
        fields = {name: kwargs.pop(name) for name in list(kwargs) if name in RunRequest.__dataclass_fields__}
        return RunRequest(
            run_id=uuid7(),
            thread_id=thread_id or uuid7(),
            assistant_id=system_assistant_id(graph_id),
            graph_id=graph_id,
            kwargs={"stream_mode": ALL_MODES, **kwargs},
            metadata=fields.pop("metadata", {}),
            inherited_metadata={"created_by": "system"},
            fresh_thread=thread_id is None,
            **fields,
        )

    async def run(self, engine: Engine, graph_id: str, thread_id: UUID | None = None, **kwargs: Any) -> Run:
        """Run to the end and return the run as it is then."""
        run = await engine.queue.create(self.request(graph_id, thread_id, **kwargs))
        await engine.tails.result(run)
        return await engine.queue.get(run.thread_id, run.run_id)

    async def make_steady(self) -> None:
        """Let every process declare others dead now, instead of one lease after its start."""
        long_ago = "clock_timestamp() - interval '1 hour'"
        await self.rows(f"update processes set steady_since = {long_ago}, calm_since = {long_ago}")

    # What became of it.

    async def connect(self, name: str = "test") -> AsyncConnection[Any]:
        """Open a connection in autocommit mode, to the end of the test."""
        connection = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, application_name=name)
        self._stack.push_async_callback(connection.close)
        return connection

    async def reconnect(self) -> None:
        """Look through a new connection from now on; the server was away."""
        if self._connection is not None:
            await self._connection.close()

    async def rows(self, statement: str, *parameters: Any) -> list[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await self.connect("test/rows")
        cursor = await self._connection.execute(statement.encode(), parameters)
        return await cursor.fetchall() if cursor.description is not None else []

    async def value(self, statement: str, *parameters: Any) -> Any:
        rows = await self.rows(statement, *parameters)
        return rows[0][0] if rows else None

    async def log_rows(self, thread_id: UUID) -> list[LogRow]:
        rows = await self.rows(
            "select thread_id, first_seq, last_seq, run_id, contents, payload from run_events"
            " where thread_id = %s order by last_seq",
            thread_id,
        )
        return [LogRow(*row) for row in rows]

    async def log(self, thread_id: UUID) -> list[LogEvent]:
        """The thread's events, after a check that their numbers have no hole."""
        rows = await self.log_rows(thread_id)
        assert (
            hole_in(rows, await self.value("select last_seq from thread_heads where thread_id = %s", thread_id)) == ""
        )
        return [event for row in rows for event in row.events()]

    async def status(self, run: Run) -> str | None:
        status: str | None = await self.value("select status from runs where run_id = %s", run.run_id)
        return status

    async def until_status(self, run: Run, *statuses: str) -> str:
        async def arrived() -> str | None:
            status = await self.status(run)
            return status if status in statuses else None

        status: str = await until(arrived, f"run {run.run_id} is {' or '.join(statuses)}")
        return status

    async def until_traced(self, folder: Path, *lines: str) -> None:
        await until(lambda: set(lines) <= set(trace(folder)), f"{lines} in {folder}, where {trace(folder)} is")

    async def values(self, thread_id: UUID) -> Any:
        return await self.value('select "values" from threads where thread_id = %s', thread_id)


def trace(folder: Path) -> Counter[str]:
    """What the nodes of a run left, with how often."""
    file = folder / "trace"
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def open_gate(folder: Path, *names: str) -> None:
    """Let these nodes go on."""
    for name in names:
        (folder / f"{name}.open").touch()


def hole_in(rows: list[LogRow], last_seq: int | None) -> str:
    """What is wrong with the numbers of a thread's rows; nothing if they follow each other up to `last_seq`."""
    expected = 1
    for row in rows:
        if row.first_seq != expected:
            return f"a row begins at {row.first_seq} where {expected} was due"
        if len(row.contents) != row.last_seq - row.first_seq + 1:
            return f"row {row.first_seq} to {row.last_seq} has {len(row.contents)} events"
        if sum(length for _, length, _ in row.contents) != len(row.payload):
            return f"row {row.last_seq} has a payload of {len(row.payload)} bytes and other lengths"
        expected = row.last_seq + 1
    return (
        "" if last_seq is None or expected == last_seq + 1 else f"the head is at {last_seq}, the log at {expected - 1}"
    )


def read(event: LogEvent) -> Any:
    return orjson.loads(event.data)
