"""Owns one attempt of one run: calling the graph, recording what it does, ending it or handing it back."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from psycopg import Error

from threadline.checkpoints.buffer import CancelRequested, Entry, Fence, FencedOut, RunBuffer
from threadline.checkpoints.effects import EffectJournal
from threadline.checkpoints.run_saver import RunSaver
from threadline.checkpoints.vault import VaultError, sealing_in
from threadline.effects import journalling
from threadline.runs.graph_call import call_graph
from threadline.runs.invocation import PROTOCOL, Invocation, make_invocation
from threadline.runs.model import CancelAction, Claim, JsonObject, RunStatus, StopReason, ThreadStatus
from threadline.runs.outcome import INTERRUPT, Outcome, describe_error, without, write_entry
from threadline.runs.past import Past
from threadline.runs.recorder import Recorder
from threadline.runs.resumption import WAIT_SECONDS, ServedElsewhere
from threadline.runs.secrets import secrets_of, shown_kwargs
from threadline.runs.supersteps import lags
from threadline.runs.workshop import Workshop

logger = logging.getLogger("threadline.runs")

GRACE_SECONDS = 2.0  # what a cancelled task has to tidy up, until it is cancelled again
MOST_CANCELLATIONS = 15  # of a task that ignores them


class Execution:
    """One attempt. `stop` ends it from outside with a reason; `run` returns when it is over and recorded."""

    def __init__(self, claim: Claim, workshop: Workshop) -> None:
        self.claim = claim
        self._workshop = workshop
        self._reason: StopReason | None = None
        self._action = CancelAction.INTERRUPT
        self._task: asyncio.Task[Outcome] | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # or it was given up
        self._asking: asyncio.TimerHandle | None = None
        self._control = RunControl()
        self._recorder: Recorder | None = None
        self._saver: RunSaver | None = None
        self._secrets = secrets_of(claim.run)
        self._ending = False
        self.hand_back_delay = 0.0  # seconds until a run that was left to be handed back may be claimed again

    def stop(self, reason: StopReason, action: CancelAction = CancelAction.INTERRUPT) -> None:
        """Cancel the run's task. The first reason counts, except that a lost lease beats them all."""
        if self._reason is None or reason is StopReason.LEASE_LOST:
            self._reason, self._action = reason, action
        if self._task is not None and self._asking is None:
            self._ask(self._task)

    def _ask(self, task: asyncio.Task[Outcome], times: int = MOST_CANCELLATIONS) -> None:
        """Cancel the task, and again should it not end: not before its nodes and callbacks had time to tidy up."""
        if task.done():
            return
        if times:
            task.cancel()
            self._asking = task.get_loop().call_later(GRACE_SECONDS, self._ask, task, times - 1)
        else:
            self._note_over(task)

    def _note_over(self, task: asyncio.Task[Outcome]) -> None:
        if self._asking is not None:
            self._asking.cancel()
        if not self._over.done():
            self._over.set_result(None)

    def lose(self) -> None:
        """The thread belongs to somebody else, unless the run's own end is what freed it."""
        if not self._ending:
            self.stop(StopReason.LEASE_LOST)

    def request_drain(self) -> None:
        """Let the run stop at its next superstep, to be handed back."""
        self._control.request_drain(StopReason.SHUTDOWN)

    async def run(self) -> bool:
        """Execute the run to its end. False: it is not over, and was left to be handed back or to its new owner."""
        with sealing_in(self.claim.encryption_context):
            return await self._run()

    async def _run(self) -> bool:
        fence = Fence(self.claim.run.thread_id, self.claim.run.run_id, self.claim.epoch)
        buffer = self._workshop.writer.open_buffer(fence, lambda: self.stop(StopReason.LEASE_LOST))
        loop, limit = asyncio.get_running_loop(), self._workshop.run_timeout
        timer = loop.call_later(limit.total_seconds(), self.stop, StopReason.TIMEOUT)
        try:
            outcome = await self._await_outcome(buffer)
            if outcome is not None:
                return await self._finish(buffer, outcome)
            await buffer.drained()  # behind the hand-over it would be refused
            return False
        except FencedOut:
            logger.warning("run.lease_lost", extra=self._facts())
            return False
        finally:
            timer.cancel()

    def _facts(self) -> dict[str, Any]:
        run = self.claim.run
        return {"run_id": str(run.run_id), "thread_id": str(run.thread_id), "attempt": run.attempt}

    def _opening(self) -> JsonObject:
        """Who makes this attempt, for the log."""
        run = self.claim.run
        return {
            "attempt": run.attempt,
            "process_id": self._workshop.process_id,
            "worker": self._workshop.worker,
            "graph_id": run.graph_id,
            **self._workshop.registry.stamp(run.graph_id),
        }

    async def _await_outcome(self, buffer: RunBuffer) -> Outcome | None:
        """Run the graph in a task of its own, so that stopping it is not stopping us."""
        self._task = asyncio.create_task(self._invoke(buffer), name=f"run/{self.claim.run.run_id}")
        self._task.add_done_callback(self._note_over)
        if self._reason is not None:
            self._ask(self._task)
        await self._join(self._task)
        if self._reason is None and not self._task.cancelled() and self._task.done():
            return self._task.result()
        return self._judge(self._task)

    async def _join(self, task: asyncio.Task[Outcome]) -> None:
        """Wait for the task; one that was stopped and swallows its cancellation is waited for no more after a while."""
        try:
            await self._over
        except asyncio.CancelledError:
            self.stop(StopReason.SHUTDOWN)
            await asyncio.wait({task}, timeout=1.0)
            raise
        if not task.done():
            logger.error("run.stuck", extra={**self._facts(), "reason": self._reason})

    def _judge(self, task: asyncio.Task[Outcome]) -> Outcome | None:
        """What it means that the task was stopped, or ended although it was told to stop."""
        reason = self._reason
        values = self._recorder.values if self._recorder else None
        match reason:
            case StopReason.LEASE_LOST:
                raise FencedOut("lease lost")
            case StopReason.SHUTDOWN:
                return None
            case StopReason.TIMEOUT:
                error = {"error": "TimeoutError", "message": f"The run exceeded {self._workshop.run_timeout}."}
                return Outcome(RunStatus.TIMEOUT, ThreadStatus.ERROR, values, error=error, reported=True)
            case StopReason.BACKLOG:
                error = {"error": "BacklogError", "message": "The run emitted events faster than they could be stored."}
                return Outcome(RunStatus.ERROR, ThreadStatus.ERROR, values, error=error, reported=True)
            case StopReason.CANCEL:
                error = {"error": "UserInterrupt", "message": f"{self._action} requested"}
                return Outcome(RunStatus.INTERRUPTED, ThreadStatus.INTERRUPTED, values, error=error)
        # Nobody stopped it: the graph's own code cancelled its task.
        error = {"error": "CancelledError", "message": "The graph cancelled its own task."}
        return Outcome(RunStatus.ERROR, ThreadStatus.ERROR, values, error=error, reported=True)

    async def _invoke(self, buffer: RunBuffer) -> Outcome:
        """Call the graph and return what it came to; raises only CancelledError and FencedOut."""
        try:
            self.claim.check()
            past, resumed = await self._look_back()
            invocation = make_invocation(self.claim, resumed=resumed)
            async with self._record(buffer, invocation, past) as (recorder, saver):
                self._recorder, self._saver = recorder, saver
                await call_graph(self._workshop, self.claim, invocation, recorder, saver, buffer, self._control)
            return _settle(recorder)
        except FencedOut:
            raise
        except (GraphDrained, ServedElsewhere) as error:
            self._reason = StopReason.SHUTDOWN
            self.hand_back_delay = WAIT_SECONDS if isinstance(error, ServedElsewhere) else 0.0
            raise asyncio.CancelledError from None
        except Exception as error:  # whatever user code raises is the run's outcome
            logger.info("run.failed", exc_info=without(error, self._secrets), extra=self._facts())
            values, told = self._recorder.values if self._recorder else None, describe_error(error, self._secrets)
            return Outcome(RunStatus.ERROR, ThreadStatus.ERROR, values, error=told, reported=True)

    async def _look_back(self) -> tuple[Past, bool]:
        """What earlier attempts left: their events, and whether the input is used up."""
        run = self.claim.run
        if run.attempt == 1:
            return Past(), False
        has_checkpoint = await self._workshop.endings.has_checkpoint(run)
        if run.kwargs.get("durability") == "exit":
            # What was logged on the way reported nothing that was stored: it is done, and told, anew.
            return Past(), has_checkpoint
        past = Past(await self._workshop.endings.read_events(run))
        answered = past.has_requested_input and bool((run.kwargs.get("command") or {}).get("resume") is not None)
        past.continues = answered or has_checkpoint
        return past, past.continues

    @asynccontextmanager
    async def _record(
        self, buffer: RunBuffer, invocation: Invocation, past: Past
    ) -> AsyncIterator[tuple[Recorder, RunSaver]]:
        workshop, run = self._workshop, self.claim.run
        saver = RunSaver(
            workshop.pool,
            buffer,
            fresh=run.attempt == 1 and not self.claim.has_checkpoint,
            answered=past.has_requested_input,
            lags=lags(invocation.durability),
            serde=workshop.serializers.of(run.graph_id),
            pooler=workshop.pooler,
            secrets=self._secrets,
        )
        recorder = Recorder(
            buffer,
            saver,
            modes=invocation.modes,
            subgraphs=invocation.subgraphs,
            protocol=invocation.protocol,
            holds=invocation.durability != "exit",
            past=past,
            secrets=self._secrets,
            opening=self._opening(),
            on_overflow=lambda: self.stop(StopReason.BACKLOG),
        )
        keeps = invocation.durability != "exit"
        journal = EffectJournal(workshop.pool, saver, buffer.fence, keeps_checkpoints=keeps, on_fenced_out=self.lose)
        try:
            with journalling(journal):
                yield recorder, saver
        finally:
            saver.held.drop()

    async def _finish(self, buffer: RunBuffer, outcome: Outcome) -> bool:
        """Commit the end. A cancel request that came in between is carried out instead."""
        self._ending = True
        refused = False
        while True:
            if self._reason is StopReason.CANCEL and self._action is CancelAction.ROLLBACK:
                await buffer.drained()
                await self._workshop.endings.roll_back(self.claim)
                logger.info("run.rolled_back", extra=self._facts())
                return True
            try:
                entry = await self._write_end(outcome)
                if self._saver is not None and not refused:
                    entry.after = self._saver.last
                await buffer.committed(buffer.add(entry))
            except CancelRequested:
                self._reason = StopReason.CANCEL
                self._action = await self._workshop.endings.read_cancel(self.claim.run)
                error = {"error": "UserInterrupt", "message": f"{self._action} requested"}
                outcome = Outcome(RunStatus.INTERRUPTED, ThreadStatus.INTERRUPTED, outcome.values, error=error)
                continue
            except (Error, TypeError, ValueError, VaultError) as error:
                # The end cannot be encoded, or the database refuses it or what came before; the run ends all the
                # same, with the reason.
                if refused:
                    raise
                refused = True
                described = describe_error(error, self._secrets)
                outcome = Outcome(RunStatus.ERROR, ThreadStatus.ERROR, None, error=described, reported=True)
                continue
            logger.info("run.finished", extra={**self._facts(), "status": str(outcome.status)})
            return True

    async def _write_end(self, outcome: Outcome) -> Entry:
        run = self.claim.run
        return write_entry(
            outcome,
            fallback=b"{}" if outcome.values is not None else await self._workshop.endings.read_values(run),
            config=shown_kwargs(run.kwargs).get("config") or {},
            cancel_known=self._reason is StopReason.CANCEL,
            opening=self._recorder.opening if self._recorder else self._opening(),
            graph_id=run.graph_id,
            protocol=PROTOCOL in (run.kwargs.get("stream_mode") or ()),
        )


def _settle(recorder: Recorder) -> Outcome:
    values = recorder.values
    if recorder.interrupted and recorder.questions and isinstance(values, dict) and INTERRUPT not in values:
        values = {**values, INTERRUPT: recorder.questions}
    status = ThreadStatus.INTERRUPTED if recorder.interrupted else ThreadStatus.IDLE
    return Outcome(RunStatus.SUCCESS, status, values, interrupts=recorder.interrupts)
