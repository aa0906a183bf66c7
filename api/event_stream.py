"""Owns the event-streaming protocol's stream over server-sent events: one filter, from a number on, without an end.

Which events there are, and how they read, is `runs.envelopes`' business.
"""

import asyncio

from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from threadline.api.departures import Departure, Presence, Stopping, cut
from threadline.api.middleware import defer
from threadline.api.stream import HEARTBEAT
from threadline.runs.channels import Filter
from threadline.runs.encoding import encode
from threadline.runs.envelopes import Envelopes
from threadline.runs.errors import RunError
from threadline.runs.feed import Feed


def failure_message(error: RunError) -> bytes:
    """Return what tells a client why its stream ends: the protocol's error that answers no command."""
    return encode({"type": "error", "id": None, "error": "unknown_error", "message": str(error)})


class EventStream(EventSourceResponse):
    """The events of a thread, of all its runs; it ends when the thread is deleted.

    Like `RunStream` it keeps the headers of `EventSourceResponse` and replaces its four tasks. A stopping server
    cuts it, so that the client comes back with the last number it has seen.
    """

    def __init__(self, feed: Feed, wanted: Filter, *, heartbeat: float, stopping: Stopping) -> None:
        super().__init__(iter(()), ping=0)
        self._feed = feed
        self._filter = wanted
        self._heartbeat = heartbeat
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, as soon as the framework is done with the request."""
        if not defer(scope, self._run):
            await self._run(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A number that is no longer kept is told by the status, while there is one.
        async with self._feed, Presence(receive, self._stopping) as presence:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send_events(send)
        if presence.departure is Departure.SHUTDOWN:
            await cut(scope, receive)

    async def _send_events(self, send: Send) -> None:
        envelopes = Envelopes()
        now = asyncio.get_running_loop().time
        due = now() + self._heartbeat
        has_more = True
        while has_more:
            try:
                rows = await self._feed.next_rows(max(0.0, due - now()))
                body = b"".join(
                    b"event: %b\r\ndata: %b\r\nid: %d\r\n\r\n" % (each.method.encode(), each.body, each.seq)
                    for row in rows
                    for each in envelopes.read(row, self._feed.after, self._filter)
                )
            except RunError as error:
                body, has_more = b"event: error\r\ndata: %b\r\n\r\n" % failure_message(error), False
            if not body:
                if now() < due:
                    continue
                body = HEARTBEAT
            await send({"type": "http.response.body", "body": body, "more_body": has_more})
            due = now() + self._heartbeat
