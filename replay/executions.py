"""Owns what the log says about nodes: when each ran, for which attempt and worker, what it cost, how it ended."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of
from threadline.runs.model import (
    ATTEMPT_STARTED,
    INPUT_REQUESTED,
    NODE_FINISHED,
    NODE_STARTED,
    RUN_ENDED,
    JsonObject,
    LogEvent,
    LogRow,
)
from threadline.runs.sealed_rows import open_log

_SQL = load_statements("threadline.replay", "executions.sql")
_PAGE = 32  # rows read at once; one may hold some 256 kB of events


@dataclass(slots=True)
class Execution:
    """One go of a task. Times are in microseconds; `finished` is None for one that was cut off or still works."""

    task_id: str
    name: str
    ns: list[str]
    run_id: UUID
    attempt: int
    worker: str | None
    started: int
    finished: int | None = None
    error: str | None = None
    usage: JsonObject | None = None
    asked: bool = False


@dataclass(slots=True)
class Executions:
    """All executions of one thread, in the order they began."""

    all: list[Execution] = field(default_factory=list)


async def read_log(connection: AsyncConnection[Any], thread_id: UUID, after: int = 0) -> AsyncIterator[LogRow]:
    """Yield the thread's log behind `after`. Must run in a transaction; memory does not grow with the log."""
    async with connection.cursor("log", binary=True) as cursor:
        cursor.itersize = _PAGE
        await cursor.execute(_SQL["rows"], {"thread_id": thread_id, "after": after})
        while rows := [LogRow(thread_id, *row) for row in await cursor.fetchmany(_PAGE)]:
            for row in await open_log(vault_of(connection), rows):
                yield row


async def read_executions(connection: AsyncConnection[Any], thread_id: UUID) -> Executions:
    """Return what the log of the thread knows; nothing of what was trimmed. Must run in a transaction."""
    reader = _Reader()
    async for row in read_log(connection, thread_id):
        if any(content[0].startswith(".") for content in row.contents):
            for event in row.events():
                reader.take(event)
    return reader.executions


class _Reader:
    def __init__(self) -> None:
        self.executions = Executions()
        self._open: dict[tuple[UUID, str], Execution] = {}
        self._attempts: dict[UUID, JsonObject] = {}

    def take(self, event: LogEvent) -> None:
        if event.name == ATTEMPT_STARTED:
            self._attempts[event.run_id] = orjson.loads(event.data)
        elif event.name == NODE_STARTED:
            self._start(event, orjson.loads(event.data))
        elif event.name == NODE_FINISHED:
            self._finish(event, orjson.loads(event.data))
        elif event.name == INPUT_REQUESTED:
            self._ask(event, orjson.loads(event.data))
        elif event.name == RUN_ENDED:
            self._open = {key: each for key, each in self._open.items() if key[0] != event.run_id}

    def _start(self, event: LogEvent, task: JsonObject) -> None:
        attempt = self._attempts.get(event.run_id, {})
        execution = Execution(
            task["id"],
            task["name"],
            task["ns"],
            event.run_id,
            attempt.get("attempt", 1),
            attempt.get("worker"),
            event.time,
        )
        self._open[event.run_id, task["id"]] = execution
        self.executions.all.append(execution)

    def _finish(self, event: LogEvent, task: JsonObject) -> None:
        if execution := self._open.get((event.run_id, task["id"])):
            execution.finished = event.time
            execution.error = task["error"]
            execution.usage = task.get("usage")

    def _ask(self, event: LogEvent, question: JsonObject) -> None:
        if execution := self._open.get((event.run_id, question["task_id"])):
            execution.asked = True
            execution.finished = execution.finished or event.time
