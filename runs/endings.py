"""Owns ends that are not the run's own: rolling back, ending what a dead worker left, reading what it left.

Each takes the thread's head first and works in later statements of the same transaction.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from time import time_ns
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection, Error
from psycopg_pool import PoolTimeout

from threadline.checkpoints.handler_form import read_context
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.sealing import open_text, ordinal, seal_events, thread_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import VaultError, sealing_in, vault_of
from threadline.graphs.registry import Registry
from threadline.runs.encoding import encode
from threadline.runs.model import (
    ERROR,
    LIFECYCLE,
    RUN_ENDED,
    CancelAction,
    Claim,
    JsonObject,
    LogEvent,
    LogRow,
    Run,
    RunStatus,
    ThreadStatus,
)
from threadline.runs.outcome import Outcome, lifecycle, write_answer
from threadline.runs.sealed_rows import open_log, seal_run, seal_thread
from threadline.runs.serializers import Serializers

logger = logging.getLogger("threadline.endings")

_QUEUE = load_statements("threadline.runs", "queue.sql")
_LOG = load_statements("threadline.runs", "log.sql")
_SQL = load_statements("threadline.runs", "endings.sql")
_EFFECTS = load_statements("threadline.checkpoints", "effects.sql")


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A dead worker's run that must be ended rather than run again."""

    run_id: UUID
    thread_id: UUID
    epoch: int
    cancel: str | None
    failures: int


@dataclass(frozen=True, slots=True)
class Endings:
    """Ends runs from outside. `announce` tells everybody's streams of a thread that it has news."""

    pool: Pool
    registry: Registry
    serializers: Serializers
    announce: Callable[[UUID], None]
    linger: timedelta

    async def read_events(self, run: Run) -> list[LogEvent]:
        """Return everything the run has logged so far."""
        found = await self._fetch(_LOG["of_run"], run, after=run.start_seq)
        rows = [
            LogRow(run.thread_id, first, last, run_id, contents, bytes(payload))
            for first, last, run_id, contents, payload in found
        ]
        return [event for row in await open_log(vault_of(self.pool), rows) for event in row.events()]

    async def has_checkpoint(self, run: Run) -> bool:
        """Whether an earlier attempt left a checkpoint of this run at the thread's head."""
        rows = await self._fetch(_SQL["has_checkpoint"], run)
        return bool(rows and rows[0][0])

    async def read_values(self, run: Run) -> bytes:
        """Return the JSON text of the thread's values, `{}` if it has none."""
        rows = await self._fetch(_SQL["read_values"], run)
        return await self._open_values(run.thread_id, rows[0][0] if rows else None) or b"{}"

    async def _open_values(self, thread_id: UUID, stored: str | None) -> bytes | None:
        """Return the thread's values; those that cannot be opened are left out, for the run ends all the same."""
        try:
            text = await open_text(vault_of(self.pool), thread_place("values", thread_id), stored)
        except VaultError as error:
            logger.error("endings.refused", extra={"thread_id": str(thread_id), "error": str(error)})
            return None
        return None if text is None else text.encode()

    async def read_cancel(self, run: Run) -> CancelAction:
        """Return what was asked of the active run."""
        rows = await self._fetch(_SQL["read_cancel"], run)
        return CancelAction(rows[0][0]) if rows and rows[0][0] else CancelAction.INTERRUPT

    async def _fetch(self, statement: Any, run: Run, **more: Any) -> list[Any]:
        """Read, again and again while the database is away: a run waits for it rather than fail."""
        while True:
            try:
                async with self.pool.connection() as connection:
                    cursor = await connection.execute(
                        statement, {"thread_id": run.thread_id, "run_id": run.run_id, **more}, binary=True
                    )
                    return await cursor.fetchall()
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("endings.retry", extra={"error": repr(error)})
                await asyncio.sleep(0.2)

    async def roll_back(self, claim: Claim) -> None:
        """Remove what the active run did and the run itself; its events stay, closed by an end.

        Called by the worker that holds the claim, after the run's task has stopped.
        """
        outcome = Outcome(RunStatus.INTERRUPTED, ThreadStatus.IDLE)
        while True:
            try:
                await self._end(claim.run.thread_id, claim.run.run_id, claim.epoch, outcome, rollback=True, failures=0)
                return
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("endings.retry", extra={"error": repr(error)})
                await asyncio.sleep(0.2)

    async def end_abandoned(self, abandoned: Abandoned) -> bool:
        """End a dead worker's run: carry out the cancel it was asked for, or give it up as poisonous."""
        error: JsonObject
        if abandoned.cancel is None:
            text = f"The process that executed this run died {abandoned.failures} times; the run is not tried again."
            error = {"error": "TooManyAttempts", "message": text}
            outcome = Outcome(RunStatus.ERROR, ThreadStatus.ERROR, error=error, reported=True)
        else:
            error = {"error": "UserInterrupt", "message": f"{abandoned.cancel} requested"}
            outcome = Outcome(RunStatus.INTERRUPTED, ThreadStatus.INTERRUPTED, error=error)
        return await self._end(
            abandoned.thread_id,
            abandoned.run_id,
            abandoned.epoch,
            outcome,
            rollback=abandoned.cancel == CancelAction.ROLLBACK,
            failures=abandoned.failures,
        )

    async def _end(
        self, thread_id: UUID, run_id: UUID, epoch: int, outcome: Outcome, *, rollback: bool, failures: int
    ) -> bool:
        async with self.pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(_QUEUE["lock_head"], {"thread_id": thread_id})
            head = await cursor.fetchone()
            if head is None or (head[1], head[2]) != (run_id, epoch):
                return False
            cursor = await connection.execute(_QUEUE["get"], {"run_id": run_id, "thread_id": thread_id})
            row = await cursor.fetchone()
            graph_id = row[3] if row else ""
            if rollback:
                await self._remove(connection, thread_id, run_id, graph_id)
            outcome, values = await self._read_state(connection, thread_id, graph_id, outcome)
            with sealing_in(read_context(row[6]) if row else None):
                end = await self._bind(thread_id, run_id, epoch, outcome, values, failures, graph_id)
            await connection.execute(_QUEUE["end_active"], end)
            if rollback:
                await connection.execute(_QUEUE["delete_run"], {"run_id": run_id, "thread_id": thread_id})
        self.announce(thread_id)
        logger.info("run.ended", extra={"run_id": str(run_id), "status": str(outcome.status), "rollback": rollback})
        return True

    async def _remove(self, connection: AsyncConnection[Any], thread_id: UUID, run_id: UUID, graph_id: str) -> None:
        saver = ThreadSaver(connection, serde=self.serializers.of(graph_id))
        await saver.adelete_for_runs([str(run_id)], thread_id=str(thread_id))
        for name in ("drop_base_writes", "restore_base_writes"):
            await connection.execute(_SQL[name], {"thread_id": thread_id, "run_id": run_id})
        await connection.execute(_SQL["still_has_checkpoint"], {"thread_id": thread_id})
        await connection.execute(_EFFECTS["forget_run"], {"thread_id": thread_id, "run_id": run_id})

    async def _read_state(
        self, connection: AsyncConnection[Any], thread_id: UUID, graph_id: str, outcome: Outcome
    ) -> tuple[Outcome, bytes | None]:
        """Complete the outcome with the state the thread is in; what cannot be read leaves what was stored."""
        saver = ThreadSaver(connection, serde=self.serializers.of(graph_id))
        config: Any = {"configurable": {"thread_id": str(thread_id)}}
        try:
            async with self.registry.open_graph(
                graph_id, checkpointer=saver, store=None, config=config, context_kind="threads.read"
            ) as graph:
                snapshot = await graph.aget_state(config)
            values = encode(snapshot.values)
        except (Error, PoolTimeout, OSError):
            raise
        except Exception as error:  # whatever a graph, its factory or a value has: the run ends all the same
            logger.warning("endings.no_state", exc_info=error, extra={"graph_id": graph_id, "error": str(error)})
            cursor = await connection.execute(_SQL["read_values"], {"thread_id": thread_id})
            row = await cursor.fetchone()
            return outcome, await self._open_values(thread_id, row[0] if row else None)
        if snapshot.created_at is None:
            return outcome, None
        interrupts = {
            task.id: [{"id": i.id, "value": i.value} for i in task.interrupts]
            for task in snapshot.tasks
            if task.interrupts
        }
        status = outcome.thread_status
        if status is ThreadStatus.IDLE and snapshot.next:
            status = ThreadStatus.INTERRUPTED
        elif status is ThreadStatus.INTERRUPTED and not snapshot.next and not outcome.error:
            status = ThreadStatus.IDLE
        settled = Outcome(outcome.status, status, None, interrupts, outcome.error, outcome.reported)
        return settled, values

    async def _bind(
        self,
        thread_id: UUID,
        run_id: UUID,
        epoch: int,
        outcome: Outcome,
        values: bytes | None,
        failures: int,
        graph_id: str,
    ) -> JsonObject:
        now = time_ns() // 1000
        events = [
            (LIFECYCLE, encode(lifecycle(outcome, graph_id))),
            (RUN_ENDED, write_answer(outcome, values or b"{}")),
        ]
        if outcome.reported and outcome.error is not None:
            events.insert(0, (ERROR, encode(outcome.error)))
        vault = vault_of(self.pool)
        contents = [(name, len(data), now) for name, data in events]
        payload = b"".join(data for _, data in events)
        error = encode(outcome.error).decode() if outcome.error is not None else None
        texts = {
            "values": values.decode() if values is not None else None,
            "interrupts": encode(outcome.interrupts or {}).decode(),
            "error": error,
        }
        sealed = await seal_thread(vault, thread_id, texts)
        return {
            "thread_id": thread_id,
            "run_id": run_id,
            "status": str(outcome.status),
            "thread_status": str(outcome.thread_status),
            "error": await seal_run(vault, run_id, "error", error),
            "thread_error": sealed["error"],
            "interrupts": sealed["interrupts"],
            "values": sealed["values"],
            "failures": failures,
            "linger": self.linger,
            "events": len(events),
            "contents": orjson.dumps(contents).decode(),
            "payload": await seal_events(vault, thread_id, run_id, contents, payload, ordinal(epoch + 1)),
        }
