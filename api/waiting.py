"""Owns answers that take as long as a run: JSON at the end, and signs of life on the way there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from threadline.api.departures import Departure, Presence, Stopping, cut
from threadline.runs.encoding import encode
from threadline.runs.errors import RunError

KEEP_ALIVE = b"\n"
PROMPT_SECONDS = 0.02  # what ends within this is answered in one piece, with its length and a status of its own


class Waiting(Response):
    """The JSON that `result` returns, sent when it is there.

    A prompt result is an ordinary answer. Otherwise the status, 200, and the headers go out before it, because
    they tell the client which run it waits for and where to come back to; white space follows at every
    `heartbeat`, in seconds, and a failure shows in the JSON. `on_abandoned` is called when the client goes away,
    not when the server stops: the client comes back then.
    """

    media_type = "application/json"

    def __init__(
        self,
        result: Callable[[], Awaitable[bytes]],
        *,
        heartbeat: float,
        stopping: Stopping,
        headers: Mapping[str, str],
        on_abandoned: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._result = result
        self._heartbeat = heartbeat
        self._stopping = stopping
        self._on_abandoned = on_abandoned
        self._has_started = False
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. An error of the run before the first byte is raised."""
        async with Presence(receive, self._stopping) as presence:
            await self._send_result(send)
        if presence.departure is Departure.SHUTDOWN:
            # With the headers it learns where to go on waiting.
            await self._send_keep_alive(send)
            await cut(scope, receive)
        elif presence.departure is Departure.CLIENT and self._on_abandoned is not None:
            await self._on_abandoned()

    async def _send_result(self, send: Send) -> None:
        result = asyncio.ensure_future(self._result())
        try:
            if not (await asyncio.wait((result,), timeout=PROMPT_SECONDS))[0]:
                await self._send_start(send)
                while not (await asyncio.wait((result,), timeout=self._heartbeat))[0]:
                    await self._send_keep_alive(send)
            body = await self._body(result)
        finally:
            result.cancel()
        if not self._has_started:
            await self._send_start(send, (b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _body(self, result: Awaitable[bytes]) -> bytes:
        try:
            return await result
        except RunError as error:
            if not self._has_started:
                raise
            return encode({"__error__": {"error": type(error).__name__, "message": str(error)}})

    async def _send_keep_alive(self, send: Send) -> None:
        if not self._has_started:
            await self._send_start(send)
        await send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})

    async def _send_start(self, send: Send, *headers: tuple[bytes, bytes]) -> None:
        self._has_started = True
        start: dict[str, Any] = {"type": "http.response.start", "status": self.status_code}
        await send(start | {"headers": [*self.raw_headers, *headers]})
