"""Owns the answers that follow a run, as a stream or to its end; each is told here what to do when cut off."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from uuid import UUID

from starlette.responses import Response

from threadline.api.departures import Stopping
from threadline.api.event_stream import EventStream
from threadline.api.playback import ReplayStream
from threadline.api.responses import run_headers
from threadline.api.stream import RunFrames, RunStream
from threadline.api.thread_stream import ThreadFrames, ThreadStream, ThreadStreamMode
from threadline.api.waiting import Waiting
from threadline.replay.pace import Pace
from threadline.replay.recording import Recording
from threadline.runs.channels import Filter
from threadline.runs.encoding import encode
from threadline.runs.engine import Engine
from threadline.runs.errors import NotFound, NothingToCancel, RunNotFound
from threadline.runs.feed import Feed
from threadline.runs.model import CancelAction, Run, RunStatus


class Answers:
    """Makes answers that last as long as a run.

    `heartbeat` is in seconds: how long a client waits without a sign of life. With `cancels` the run is
    cancelled when the client goes away before the end.
    """

    def __init__(self, engine: Engine, stopping: Stopping, heartbeat: float) -> None:
        self._engine = engine
        self._stopping = stopping
        self._heartbeat = heartbeat

    def stream(
        self,
        run: Run,
        after: int | None,
        headers: Mapping[str, str],
        *,
        modes: Iterable[str] = (),
        knows_place: bool = True,
        cancels: bool = False,
    ) -> Response:
        """Return the run's events behind number `after`; an empty stream when that is None.

        A client that does not know that number is told, so that it can come back when it is cut.
        """
        if after is None:
            return _no_events(headers)
        return RunStream(
            self._engine.tails.follow(run.thread_id, after),
            RunFrames(run.run_id, after, modes),
            heartbeat=self._heartbeat,
            stopping=self._stopping,
            headers=headers,
            tells_place=run.status is RunStatus.PENDING or not knows_place,
            on_abandoned=self._abandon(run) if cancels else None,
        )

    def thread(self, thread_id: UUID, after: int, modes: Iterable[ThreadStreamMode], *, knows_place: bool) -> Response:
        """Return what happens on the thread behind number `after`, for as long as the client stays."""
        read_state = partial(self._engine.states.get, thread_id)
        return ThreadStream(
            self._engine.tails.follow(thread_id, after),
            ThreadFrames(after, modes, read_state),
            heartbeat=self._heartbeat,
            stopping=self._stopping,
            headers={},
            tells_place=not knows_place,
        )

    def replay(
        self, recording: Recording, after: int, pace: Pace, headers: Mapping[str, str], *, internal: bool
    ) -> Response:
        """Return what the run has logged behind number `after`, at a pace; one that goes on is followed from there."""
        if recording.end_seq is not None and after >= recording.end_seq:
            return _no_events(headers)
        return ReplayStream(
            self._engine.tails.follow(recording.thread_id, after),
            RunFrames(recording.run_id, after, internal=internal),
            pace,
            recording.end_seq,
            heartbeat=self._heartbeat,
            stopping=self._stopping,
            headers=headers,
        )

    def events(self, thread_id: UUID, wanted: Filter, after: int) -> Response:
        """Return the thread's events of the event-streaming protocol behind number `after`."""
        feed = Feed(self._engine.pool, self._engine.tails, thread_id, after)
        return EventStream(feed, wanted, heartbeat=self._heartbeat, stopping=self._stopping)

    def result(self, run: Run, headers: Mapping[str, str], *, cancels: bool = False) -> Response:
        """Return what the run leaves: its values, with its interrupts or its error."""
        return self._waiting(partial(self._result, run), headers, self._abandon(run) if cancels else None)

    async def cancelled(self, thread_id: UUID, run_id: UUID, action: CancelAction) -> Response:
        """Cancel the run and return an empty object when it has ended. Raises NothingToCancel."""
        try:
            # Before it is cancelled: a rollback takes the row away.
            run = await self._engine.queue.get(thread_id, run_id)
        except RunNotFound:
            raise NothingToCancel("No runs found to cancel.") from None
        await self._engine.queue.cancel(thread_id, run_id, action)
        return self._waiting(partial(self._end, run), run_headers(run, "join"), None)

    def _waiting(
        self,
        result: Callable[[], Awaitable[bytes]],
        headers: Mapping[str, str],
        on_abandoned: Callable[[], Awaitable[None]] | None,
    ) -> Waiting:
        return Waiting(
            result,
            heartbeat=self._heartbeat,
            stopping=self._stopping,
            headers=headers,
            on_abandoned=on_abandoned,
        )

    async def _result(self, run: Run) -> bytes:
        result = await self._engine.tails.result(run)
        if result is not None:
            return result
        # The end is kept no longer than the log; the thread remembers what was left.
        thread = await self._engine.threads.get(run.thread_id)
        return encode(thread.values if thread.values is not None else {})

    async def _end(self, run: Run) -> bytes:
        await self._engine.tails.result(run)
        return b"{}"

    def _abandon(self, run: Run) -> Callable[[], Awaitable[None]]:
        async def abandon() -> None:
            with suppress(NotFound):  # it has ended in the meantime
                await self._engine.queue.cancel(run.thread_id, run.run_id, CancelAction.INTERRUPT)

        return abandon


def _no_events(headers: Mapping[str, str]) -> Response:
    return Response(
        headers={**headers, "cache-control": "no-store", "x-accel-buffering": "no"}, media_type="text/event-stream"
    )
