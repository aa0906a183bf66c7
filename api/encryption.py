"""Owns the encryption context of a request: taken from its header and from who sends it, for whatever it stores.

What a context is, and what handlers make of it, is left to `runs.encryption_contexts`.
"""

from langgraph_sdk.encryption import Encryption
from starlette.types import ASGIApp, Receive, Scope, Send

from threadline.api.guard import refuse_socket
from threadline.graphs.users import User
from threadline.runs.encryption_contexts import HEADER, derive_context, parse_context, sealing_in
from threadline.runs.model import JsonObject

_NAME = HEADER.lower().encode()


class EncryptionContexts:
    """Gives each request its context. It stands behind the guard: who sends the request is known by then.

    A request that a run makes of its own server, and that says nothing, is in the run's context.
    """

    def __init__(self, app: ASGIApp, encryption: Encryption) -> None:
        self._app = app
        self._handler = encryption._context_handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            context = await self._read(scope)
        except Exception as error:
            if scope["type"] == "http":
                raise
            await refuse_socket(error, scope, receive, send)
            return
        with sealing_in(context):
            await self._app(scope, receive, send)

    async def _read(self, scope: Scope) -> JsonObject | None:
        text = next((value for name, value in scope["headers"] if name == _NAME), None)
        given = None if text is None else parse_context(text.decode("latin-1"))
        user = scope.get("user")
        if self._handler is None or not isinstance(user, User):
            return given
        return await derive_context(self._handler, user, given)
