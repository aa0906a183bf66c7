"""Owns the way in: finding out who sends a request, and asking whether they may do what its path names.

Closed by default: a route is answered for somebody the project's `auth` knows, and only if `rules` lists it. What
the handlers decide is theirs; what their filters let through is decided in SQL.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadline.api.errors import InvalidRequest, error_response, invalid_id, known_error
from threadline.api.middleware import REQUEST_ID_IN_SCOPE
from threadline.api.rules import OPEN_PATHS, find_rule
from threadline.checkpoints.pool import Pool
from threadline.graphs.auth import AccessRules, Refused
from threadline.graphs.door import AuthCache, HeaderChoice
from threadline.graphs.users import User
from threadline.runs.callers import (
    Caller,
    as_uuid,
    calling,
    clear_assistant,
    clear_cron,
    clear_thread,
    describe_user,
)
from threadline.runs.model import JsonObject

logger = logging.getLogger("threadline.api")


class Guard:
    """Lets a request through to its route on behalf of its sender, or answers 401, 403 or 404.

    Without `rules` everybody is let in, and only the headers that runs are to see are taken. Paths that are not ours
    are the custom application's: it is open unless `guards_custom` says otherwise.
    """

    def __init__(
        self,
        app: ASGIApp,
        rules: AccessRules | None,
        cache: AuthCache | None = None,
        headers: HeaderChoice | None = None,
        *,
        guards_custom: bool = False,
    ) -> None:
        self._app = app
        self._rules = rules
        self._users = _Users(cache) if cache else None
        self._headers = headers
        self._guards_custom = guards_custom

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            caller, receive = await self._admit(scope, receive)
        except Exception as error:
            if scope["type"] == "http":
                raise
            await refuse_socket(error, scope, receive, send)
            return
        with calling(caller):
            await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive) -> tuple[Caller, Receive]:
        told = self._told(scope)
        if self._rules is None:
            return Caller(configurable=told), receive
        path = route_path(scope)
        ours = path_params(scope["app"].router.routes, scope)
        if path in OPEN_PATHS or (ours is None and not self._guards_custom):
            return Caller(rules=self._rules), receive
        if self._rules.reads_body:
            receive = await _read_ahead(receive)
        user = await self._authenticate(self._rules, scope, receive, ours or {})
        # What Starlette's `request.user` reads, for the project's own routes.
        scope["user"], scope["auth"] = user, user.permissions
        caller = Caller(user, self._rules, told | describe_user(user))
        if ours is not None and self._rules.has_handlers:
            with calling(caller):
                await _ask(scope["app"].state.engine.pool, scope.get("method", "GET"), path)
        return caller, receive

    async def _authenticate(
        self, rules: AccessRules, scope: Scope, receive: Receive, params: Mapping[str, Any]
    ) -> User:
        key = self._users.key(scope) if self._users else None
        if self._users and key and (user := self._users.get(key)):
            return user
        body = await _json_of(receive) if rules.reads_body else None
        user = await rules.authenticate(_parts(scope, receive, params, body))
        if self._users and key:
            self._users.put(key, user)
        return user

    def _told(self, scope: Scope) -> JsonObject:
        """What the request tells its runs beside its body."""
        if self._headers is None and self._rules is None:
            return {}
        request_id = scope.get(REQUEST_ID_IN_SCOPE, b"").decode("latin-1")
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        told: JsonObject = {"langgraph_request_id": request_id} if request_id else {}
        if self._headers is not None:
            told |= self._headers.choose(({"x-request-id": request_id} if request_id else {}) | given)
        return told


def route_path(scope: Scope) -> str:
    """Return the path as routes know it, without the prefix the server is mounted at."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) or "/"


def path_params(routes: Iterable[BaseRoute], scope: Scope) -> dict[str, Any] | None:
    """Return the parameters in the path if one of `routes` has it, by whatever method, else None."""
    for route in routes:
        match, child = route.matches(scope)
        if match is not Match.NONE:
            return dict(child.get("path_params", {}))
    return None


async def _ask(pool: Pool, method: str, path: str) -> None:
    """Ask whether the caller may do what the path names. Raises what `runs.callers` does."""
    found = find_rule(method, path)
    if found is None:
        logger.error("access.no_rule", extra={"method": method, "path": path})
        raise Refused(403, "Forbidden")
    rule, ids = found
    match rule.resource:
        case "threads":
            thread_id = as_uuid(ids["thread_id"])
            if thread_id is None:
                raise invalid_id("thread_id")
            run_id = as_uuid(ids["run_id"]) if "run_id" in ids else None
            await clear_thread(pool, thread_id, rule.action, **({"run_id": run_id} if run_id else {}))
        case "assistants":
            await clear_assistant(pool, ids["assistant_id"], rule.action)
        case "crons":
            cron_id = as_uuid(ids["cron_id"])
            if cron_id is None:
                raise invalid_id("cron_id")
            await clear_cron(pool, cron_id, rule.action)


class HeaderValues(dict[bytes, bytes]):
    """Headers by lower-case name, as bytes; a name may be asked for as text, too."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a header, `default` without one."""
        return super().get(_as_bytes(key), default)

    def __getitem__(self, key: Any) -> bytes:
        return super().__getitem__(_as_bytes(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(_as_bytes(key))


def _as_bytes(key: Any) -> Any:
    return key.lower().encode("latin-1", "replace") if isinstance(key, str) else key


def _parts(scope: Scope, receive: Receive, params: Mapping[str, Any], body: Any) -> Mapping[str, Callable[[], Any]]:
    """Return how each part of the request is made that a handler may ask for."""
    request_scope = {**scope, "type": "http", "method": scope.get("method", "GET")}
    request = Request(request_scope, receive)
    headers = HeaderValues(scope["headers"])

    def authorization() -> str | None:
        value = headers.get(b"authorization")
        return None if value is None else value.decode("latin-1")

    return {
        "request": lambda: request,
        "scope": lambda: scope,
        "body": lambda: body,
        "path": lambda: route_path(scope),
        "method": lambda: request_scope["method"],
        "path_params": lambda: dict(params),
        "query_params": lambda: dict(request.query_params),
        "headers": lambda: headers,
        "authorization": authorization,
    }


async def _read_ahead(receive: Receive) -> Receive:
    """Read the body and return what gives it again, and then what comes behind it."""
    messages: list[Message] = []
    while not messages or messages[-1].get("more_body"):
        messages.append(await receive())
        if messages[-1]["type"] != "http.request":
            break
    return _Replay(messages, receive)


class _Replay:
    """Gives what was read ahead before anything else."""

    def __init__(self, messages: list[Message], receive: Receive) -> None:
        self.messages = messages
        self._left = list(messages)
        self._receive = receive

    async def __call__(self) -> Message:
        return self._left.pop(0) if self._left else await self._receive()


async def _json_of(receive: Receive) -> Any:
    assert isinstance(receive, _Replay)
    text = b"".join(message.get("body", b"") for message in receive.messages)
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return {}


class _Users:
    """Who sent which headers, for a while; the oldest goes when there are too many."""

    def __init__(self, cache: AuthCache) -> None:
        self._cache = cache
        self._names = [name.lower().encode("latin-1") for name in cache.keys]
        self._known: dict[tuple[bytes | None, ...], tuple[float, User]] = {}

    def key(self, scope: Scope) -> tuple[bytes | None, ...] | None:
        """Return what the request is known by; None when it has none of the headers."""
        headers = dict(scope["headers"])
        key = tuple(headers.get(name) for name in self._names)
        return key if any(value is not None for value in key) else None

    def get(self, key: tuple[bytes | None, ...]) -> User | None:
        """Return who that was, unless it is too long ago."""
        found = self._known.get(key)
        return found[1] if found and found[0] > monotonic() else None

    def put(self, key: tuple[bytes | None, ...], user: User) -> None:
        """Remember who that is."""
        self._known.pop(key, None)
        while len(self._known) >= self._cache.max_size:
            del self._known[next(iter(self._known))]
        self._known[key] = (monotonic() + self._cache.seconds, user)


async def refuse_socket(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a WebSocket's handshake with the status, where the server can, else close it."""
    response = known_error(error) if not isinstance(error, InvalidRequest) else error_response(422, str(error))
    if response is None:
        logger.error("request.failed", exc_info=error, extra={"path": scope["path"]})
        response = error_response(500, "Internal Server Error")
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    start = {"type": "websocket.http.response.start", "status": response.status_code, "headers": response.raw_headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": bytes(response.body)})
