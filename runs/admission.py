"""Owns the door: runs that arrive together are accepted by one statement, and claimed by it where there is room.

What `admit` promises is said in `queue.sql`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, Protocol
from uuid import UUID

import orjson
from psycopg import Error

from threadline.checkpoints.arrays import BooleanArray, FloatArray, TextArray, UuidArray
from threadline.checkpoints.journal import FIRST_PAUSE, LOCK_TIMEOUT, LONGEST_PAUSE, Journal, may_repeat
from threadline.checkpoints.pool import Database
from threadline.checkpoints.statements import load_statements, make_positional
from threadline.checkpoints.vault import sealing_context
from threadline.runs.encoding import encode
from threadline.runs.errors import Overloaded, RunError, ThreadBusy, ThreadHeld, ThreadNotFound
from threadline.runs.model import METADATA, Claim, JsonObject, LogRow, MultitaskStrategy, Run, RunRequest, RunStatus
from threadline.runs.sealed_rows import seal_run

logger = logging.getLogger("threadline.admission")

MAX_BATCH = 256
# What may wait here while the database takes nothing, or is slow; what waits to be executed is in the database.
MOST_ASKED = 5_000
MOST_ASKED_SIZE = 64 * 1024 * 1024  # characters

_SQL = load_statements("threadline.runs", "queue.sql")
_ADMIT = make_positional(_SQL["admit"])


@dataclass(slots=True, eq=False)
class _Asked:
    request: RunRequest
    kwargs: str
    metadata: str
    inherited: str
    answer: asyncio.Future[Run]
    claim: bool = False
    encryption_context: Mapping[str, Any] | None = field(default_factory=sealing_context)

    @property
    def size(self) -> int:
        """About how many characters wait with it."""
        return len(self.kwargs) + len(self.metadata) + len(self.inherited)


class Executor(Protocol):
    """What the worker of this process offers to runs that are claimed as they arrive."""

    def reserve(self) -> bool:
        """Set a place aside if there is one."""

    def give_back(self) -> None:
        """Return a place that was set aside."""

    def start(self, claim: Claim) -> None:
        """Execute the run on the place set aside for it."""


class Admission:
    """One connection through which this process accepts runs, batch after batch."""

    def __init__(
        self,
        database: Database,
        process_id: UUID,
        executor: Executor | None,
        on_events: Callable[[LogRow], None],
    ) -> None:
        """Without `executor` every run is left pending for the workers of other processes."""
        self._journal = Journal(database, "admission")
        self._vault = database.vault
        self._process_id = process_id
        self._executor = executor
        self._on_events = on_events
        self._asked: deque[_Asked] = deque()
        self._asked_size = 0
        self._admitting: Sequence[_Asked] = ()
        self._wake = asyncio.Event()

    async def admit(self, request: RunRequest) -> Run:
        """Return when the run is committed.

        Raises ThreadNotFound, ThreadBusy, ThreadHeld, Overloaded, VaultError, and TypeError for unencodable kwargs.
        """
        answer: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        kwargs = await seal_run(self._vault, request.run_id, "kwargs", encode(request.kwargs).decode())
        assert kwargs is not None
        asked = _Asked(
            request,
            kwargs,
            encode(request.metadata).decode(),
            encode(request.inherited_metadata).decode(),
            answer,
        )
        if self._asked and (len(self._asked) >= MOST_ASKED or self._asked_size + asked.size > MOST_ASKED_SIZE):
            raise Overloaded(len(self._asked), retry_after=1)
        self._asked.append(asked)
        self._asked_size += asked.size
        self._wake.set()
        return await asyncio.shield(answer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Accept runs in the background for the length of the block."""
        task = asyncio.create_task(self._run(), name="admission")
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._journal.close()
            for asked in (*self._admitting, *self._asked):
                _fail(asked, RunError("the server is shutting down; send the request again"))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._take():
                self._admitting = batch
                await self._admit(batch)

    def _take(self) -> list[_Asked]:
        """Take what waits, at most one run per thread: a statement changes a head row once."""
        batch: dict[UUID, _Asked] = {}
        later: list[_Asked] = []
        while self._asked and len(batch) < MAX_BATCH:
            asked = self._asked.popleft()
            if asked.request.thread_id in batch:
                later.append(asked)
            else:
                batch[asked.request.thread_id] = asked
        self._asked.extendleft(reversed(later))
        self._asked_size -= sum(asked.size for asked in batch.values())
        return list(batch.values())

    async def _admit(self, batch: Sequence[_Asked]) -> None:
        for asked in batch:
            asked.claim = asked.request.delay.total_seconds() <= 0 and self._reserve()
        pause = FIRST_PAUSE
        parameters = {"process_id": self._process_id, **_bind(batch)}
        while True:
            try:
                rows = await self._journal.execute(_ADMIT, parameters)
                found = {row[0]: row[1:] for row in rows} if rows is not None else await self._reread(batch)
                break
            except (Error, OSError) as error:
                if not may_repeat(error):
                    await self._isolate(batch, error)
                    return
                logger.warning("admission.retry", extra={"error": repr(error)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        for ord_, asked in enumerate(batch, 1):
            self._answer(asked, found.get(ord_))

    async def _isolate(self, batch: Sequence[_Asked], error: Error | OSError) -> None:
        """The database refused something in the batch: find out whose it was; the others are accepted."""
        for asked in batch:
            if asked.claim:
                self._give_back()
                asked.claim = False
        if len(batch) == 1:
            held = getattr(error, "sqlstate", None) == LOCK_TIMEOUT
            _fail(batch[0], ThreadHeld() if held else error)
            return
        for asked in batch:
            await self._admit([asked])

    async def _reread(self, batch: Sequence[_Asked]) -> dict[int, tuple[Any, ...]]:
        """The batch was committed and its answer lost: read what became of it."""
        rows = {row[0]: row[1:] for row in await self._read_runs([asked.request.run_id for asked in batch])}
        found: dict[int, tuple[Any, ...]] = {}
        for ord_, asked in enumerate(batch, 1):
            if row := rows.get(asked.request.run_id):
                epoch, has_checkpoint, status, metadata, attempt, start_seq, *times, claimed = row
                if status == RunStatus.RUNNING and not claimed:
                    status = RunStatus.PENDING  # as it was then; somebody else has taken it up since
                run = (status, metadata, attempt, start_seq, *times)
                found[ord_] = (True, True, start_seq + 1, epoch, has_checkpoint, *run)
            else:
                refusable = asked.request.multitask_strategy is not MultitaskStrategy.ENQUEUE
                found[ord_] = (refusable, False, *[None] * 10)
        return found

    async def _read_runs(self, run_ids: list[UUID]) -> list[tuple[Any, ...]]:
        """Read until it succeeds: the batch must not be sent again."""
        while True:
            try:
                connection = await self._journal.connect()
                cursor = await connection.execute(_SQL["get_many"], {"run_id": run_ids, "process_id": self._process_id})
                return await cursor.fetchall()
            except (Error, OSError) as error:
                logger.warning("admission.retry", extra={"error": repr(error)})
                await asyncio.sleep(LONGEST_PAUSE / 10)

    def _answer(self, asked: _Asked, row: tuple[Any, ...] | None) -> None:
        found, accepted = (row[0], row[1]) if row else (False, False)
        request = asked.request
        claimed = bool(accepted and row and row[5] == "running")
        if asked.claim and not claimed:
            self._give_back()
        if not row or not accepted:
            _fail(asked, ThreadBusy() if found else ThreadNotFound(request.thread_id))
            return
        _, _, last_seq, epoch, has_checkpoint, status, metadata, attempt, start_seq, created, updated, started = row
        run = make_run(request, status, metadata, attempt, start_seq, created, updated, started)
        if claimed and self._executor:
            self._on_events(metadata_row(run, last_seq))
            # Here and not where the caller waits: a client that hung up must not leave a claimed run behind.
            self._executor.start(Claim(run, epoch, has_checkpoint, encryption_context=asked.encryption_context))
        asked.answer.set_result(run)

    def _reserve(self) -> bool:
        return self._executor is not None and self._executor.reserve()

    def _give_back(self) -> None:
        if self._executor is not None:
            self._executor.give_back()


def metadata_row(run: Run, seq: int) -> LogRow:
    """Return the log row that accepting or claiming the run wrote: the event that opens an attempt."""
    payload = orjson.dumps({"run_id": run.run_id, "attempt": run.attempt})
    return LogRow(run.thread_id, seq, seq, run.run_id, [(METADATA, len(payload), time_ns() // 1000)], payload)


def make_run(
    request: RunRequest,
    status: str,
    metadata: JsonObject,
    attempt: int,
    start_seq: int,
    created: Any,
    updated: Any,
    started: Any,
) -> Run:
    """Return the run that a request became, from what the database decided."""
    return Run(
        run_id=request.run_id,
        thread_id=request.thread_id,
        assistant_id=request.assistant_id,
        graph_id=request.graph_id,
        status=RunStatus(status),
        metadata=metadata,
        kwargs=request.kwargs,
        multitask_strategy=request.multitask_strategy,
        error=None,
        attempt=attempt,
        failures=0,
        start_seq=start_seq,
        end_seq=None,
        created_at=created,
        updated_at=updated,
        started_at=started,
        ended_at=None,
    )


def _bind(batch: Sequence[_Asked]) -> JsonObject:
    requests = [asked.request for asked in batch]
    return {
        "thread_id": UuidArray([request.thread_id for request in requests]),
        "run_id": UuidArray([request.run_id for request in requests]),
        "assistant_id": UuidArray([request.assistant_id for request in requests]),
        "graph_id": TextArray([request.graph_id for request in requests]),
        "inherited": TextArray([asked.inherited for asked in batch]),
        "metadata": TextArray([asked.metadata for asked in batch]),
        "kwargs": TextArray([asked.kwargs for asked in batch]),
        "strategy": TextArray([str(request.multitask_strategy) for request in requests]),
        "delay": FloatArray([request.delay.total_seconds() for request in requests]),
        "claim": BooleanArray([asked.claim for asked in batch]),
        "fresh": BooleanArray([request.fresh_thread for request in requests]),
        "hidden": BooleanArray([request.hidden_thread for request in requests]),
        "webhook": TextArray([request.webhook for request in requests]),
    }


def _fail(asked: _Asked, error: Exception) -> None:
    if not asked.answer.done():
        asked.answer.set_exception(error)
        asked.answer.exception()  # marks it retrieved: a client that went away asks no more
