"""Owns the end of an answer that a stopping server cannot finish: one that breaks off takes a client's session along.

The run goes on, in another process or after the next start; what is told is where its result will be.
"""

from collections.abc import Sequence
from typing import Any

from starlette.types import Message, Send

from threadline.runs.encoding import encode
from threadline.runs.model import JsonObject, Run

STOPPING = -32000  # the first of those that a server may give a meaning of its own
_JSON = [(b"content-type", b"application/json")]
_EVENTS = b"text/event-stream"


class Told:
    """Hands on what is sent, and remembers how far that got."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._has_begun = False
        self._has_ended = False
        self._streams = False

    async def __call__(self, message: Message) -> None:
        """Send it."""
        if message["type"] == "http.response.start":
            self._has_begun = True
            headers = dict(message.get("headers", ()))
            self._streams = headers.get(b"content-type", b"").startswith(_EVENTS)
        elif message["type"] == "http.response.body":
            self._has_ended = not message.get("more_body", False)
        await self._send(message)

    async def end(self, request: Any, runs: Sequence[Run]) -> bool:
        """End the answer with an error that says what goes on; false where it is too late for one."""
        if self._has_ended or (self._has_begun and not self._streams):
            return False
        body = encode(_error(request, runs))
        if self._streams:
            body = b"event: message\r\ndata: " + body + b"\r\n\r\n"
        else:
            await self._send({"type": "http.response.start", "status": 200, "headers": _JSON})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        return True


def _error(request: Any, runs: Sequence[Run]) -> JsonObject:
    text = " ".join(
        [
            "The server stops.",
            *(
                f"Run {run.run_id} goes on: GET /threads/{run.thread_id}/runs/{run.run_id}/join waits for its result."
                for run in runs
            ),
        ]
    )
    request_id = request.get("id") if isinstance(request, dict) else None
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": STOPPING, "message": text}}
