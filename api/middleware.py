"""Owns what happens around every request: its id, its size limit and the last resort when it fails.

Plain ASGI: nothing here stands between a stream and its client.
"""

import logging
from uuid import uuid4

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadline.api.departures import cut
from threadline.api.errors import BodyTooLarge, error_response, known_error

logger = logging.getLogger("threadline.api")

REQUEST_ID = b"x-request-id"
MAX_REQUEST_ID = 128
DEFERRED = "threadline.deferred"
REQUEST_ID_IN_SCOPE = "threadline.request_id"


class LastResort:
    """Gives every answer a request id, and every failure nobody foresaw a status and a log entry under that id.

    What failed is in the log only: its text may hold anything. An answer that had begun is cut off instead.
    Answers that were put off until the framework is done with the request are given here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID_IN_SCOPE] = _request_id(scope)
        has_started = False

        async def send_identified(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, request_id)]
            await send(message)

        try:
            for answer in await self._serve(scope, receive, send_identified):
                await answer(scope, receive, send_identified)
        except ClientDisconnect:
            logger.debug("request.abandoned", extra=_described(scope, request_id))
        except Exception as error:
            response = None if has_started else known_error(error)
            if response is None:
                logger.exception("request.failed", extra=_described(scope, request_id))
                response = error_response(500, "Internal Server Error")
            if has_started:
                await cut(scope, receive)
            else:
                await response(scope, receive, send_identified)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> list[ASGIApp]:
        """Return the answers that were put off; what the framework left in the scope is gone then."""
        given = set(scope)
        deferred: list[ASGIApp] = []
        scope[DEFERRED] = deferred
        await self._app(scope, receive, send)
        for name in scope.keys() - given:
            del scope[name]
        return deferred


class BodyLimit:
    """Refuses a body of more than `limit` bytes, before reading it where its length is announced."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if _announced_length(scope) > self._limit:
                await error_response(413, str(BodyTooLarge(self._limit)))(scope, receive, send)
                return
            receive = self._limited(receive)
        await self._app(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        read = 0

        async def receive_limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise BodyTooLarge(self._limit)
            return message

        return receive_limited


def defer(scope: Scope, answer: ASGIApp) -> bool:
    """Put `answer` off until the framework is done with the request; false where nobody would give it.

    A stream that idles for hours then holds nothing of the framework, which is a third of its memory.
    """
    deferred: list[ASGIApp] | None = scope.get(DEFERRED)
    if deferred is None:
        return False
    deferred.append(answer)
    return True


def _described(scope: Scope, request_id: bytes) -> dict[str, str]:
    return {"request_id": request_id.decode("latin-1"), "method": scope["method"], "path": scope["path"]}


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == REQUEST_ID and 0 < len(value) <= MAX_REQUEST_ID:
            return bytes(value)
    return uuid4().hex.encode("ascii")


def _announced_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
