"""Owns a run's events on the wire: which rows of the log become server-sent events, and when the stream ends.

It reads the log and never talks to the worker. Numbers, order and payloads are the log's.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from threadline.api.departures import Departure, Presence, Stopping, cut
from threadline.api.errors import InvalidRequest
from threadline.api.middleware import defer
from threadline.runs.encoding import encode
from threadline.runs.errors import RunError
from threadline.runs.model import ERROR, RUN_ENDED, LogRow, Run
from threadline.runs.subscription import Subscription

HEARTBEAT = b": heartbeat\r\n\r\n"

# What a mode is called in the log, where that is not its own name.
_EVENTS_OF_MODE: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages/metadata", "messages/partial", "messages/complete"),
    "messages-tuple": ("messages",),
}
_LINE_BREAK = re.compile(r"[\r\n]")


class _Prefixes(dict[str, bytes]):
    """What stands before the data of an event of this name; nothing for one that is not shown."""

    def __init__(self, modes: Iterable[str], internal: bool) -> None:
        self._internal = internal
        self._names = {name for mode in modes for name in _EVENTS_OF_MODE.get(mode, (mode,))}

    def __missing__(self, name: str) -> bytes:
        prefix = b""
        if self._shows(name):
            prefix = event_prefix(name)
        self[name] = prefix
        return prefix

    def _shows(self, name: str) -> bool:
        if name.startswith("."):
            return self._internal
        return not self._names or name == ERROR or name.partition("|")[0] in self._names


class RunFrames:
    """Turns rows of a thread's log into the frames of one of its runs.

    `modes` are the stream modes to show, all when empty; errors are shown in any case. With `internal` so are the
    events that the log keeps for itself, by their names without the dot.
    """

    def __init__(self, run_id: UUID, after: int, modes: Iterable[str] = (), *, internal: bool = False) -> None:
        self._run_id = run_id
        self._after = after
        self._prefixes = _Prefixes(modes, internal)
        self.has_ended = False

    def frames(self, rows: Iterable[LogRow]) -> bytes:
        """Return the frames of `rows`, one behind the other; nothing when none is shown."""
        parts: list[bytes] = []
        for row in rows:
            if row.run_id == self._run_id:
                self._add(row, parts)
        return b"".join(parts)

    def place(self) -> bytes:
        """Return the frame that says where the stream stands, for a client that is cut before its first event."""
        return b"id: %d\r\n\r\n" % self._after

    def _add(self, row: LogRow, parts: list[bytes]) -> None:
        # Not `row.events()`: a tuple per event is three times the price of the frame.
        start = 0
        for seq, (name, length, _) in enumerate(row.contents, row.first_seq):
            end = start + length
            prefix = self._prefixes[name]
            if prefix and seq > self._after:
                parts.append(b"%b%b\r\nid: %d\r\n\r\n" % (prefix, row.payload[start:end], seq))
            start = end
        if row.contents[-1][0] == RUN_ENDED:
            self.has_ended = True


def event_prefix(name: str) -> bytes:
    """Return what stands before the data of an event; of an internal name the dot is left out."""
    # A node's name may hold anything; a line break in it would end the field.
    shown = _LINE_BREAK.sub(" ", name).removeprefix(".")
    return f"event: {shown}\r\ndata: ".encode("utf-8", "replace")


def error_frame(error: RunError) -> bytes:
    """Return the frame that tells a client why its stream ends early."""
    data = encode({"error": type(error).__name__, "message": str(error)})
    return b"event: error\r\ndata: %b\r\n\r\n" % data


def starting_point(last_event_id: str | None, run: Run, last_seq: int) -> int | None:
    """Return the number behind which a client's stream of `run` starts, None when there is nothing to come.

    `last_seq` is the log's last number, read before `run` was: an end that is not in `run` lies behind it.
    Raises InvalidRequest.
    """
    if not last_event_id:
        return None if run.status.is_final else last_seq
    if last_event_id in ("-", "-1"):
        return run.start_seq
    if not (last_event_id.isascii() and last_event_id.isdigit()):
        raise InvalidRequest(
            f"Invalid Last-Event-ID {last_event_id!r}: must be the id of an event, or - for all events"
        )
    after = int(last_event_id)
    if after > last_seq:
        return run.start_seq
    if run.end_seq is not None and after >= run.end_seq:
        return None
    return max(after, run.start_seq)


class RunStream(EventSourceResponse):
    """The events of one run, to its end.

    It keeps the headers of `EventSourceResponse` and replaces its four tasks by one beside the request's own:
    frames come ready-made, and waiting for rows is what times the heartbeat. With `tells_place` it begins with
    its place in the log, where the first event may be long in coming. `on_abandoned` is called when the client
    goes away, not when the server stops: the client comes back then.
    """

    def __init__(
        self,
        tail: AbstractAsyncContextManager[Subscription],
        frames: RunFrames,
        *,
        heartbeat: float,
        stopping: Stopping,
        headers: Mapping[str, str],
        tells_place: bool = False,
        on_abandoned: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(iter(()), headers=headers, ping=0)
        self._tells_place = tells_place
        self._tail = tail
        self._frames = frames
        self._heartbeat = heartbeat
        self._stopping = stopping
        self._on_abandoned = on_abandoned

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, as soon as the framework is done with the request."""
        if not defer(scope, self._run):
            await self._run(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        # An error of the log before the first byte is raised, a later one becomes an event.
        async with self._tail as subscription, Presence(receive, self._stopping) as presence:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if self._tells_place:
                await send({"type": "http.response.body", "body": self._frames.place(), "more_body": True})
            await self._send_events(subscription, send)
        if presence.departure is Departure.SHUTDOWN:
            await cut(scope, receive)
        elif presence.departure is Departure.CLIENT and self._on_abandoned is not None:
            await self._on_abandoned()

    async def _send_events(self, subscription: Subscription, send: Send) -> None:
        now = asyncio.get_running_loop().time
        due = now() + self._heartbeat
        has_more = True
        while has_more:
            try:
                rows = await subscription.next_rows(max(0.0, due - now()))
                chunk = self._frames.frames(rows)
                has_more = not self._frames.has_ended
            except RunError as error:
                chunk, has_more = error_frame(error), False
            if not chunk and has_more and now() < due:
                continue
            body = chunk if chunk or not has_more else HEARTBEAT
            await send({"type": "http.response.body", "body": body, "more_body": has_more})
            due = now() + self._heartbeat
