"""Owns what langgraph.json adds around the routes, and takes away: middleware, a custom application, a prefix.

What it says is `graphs.door`'s; who may pass is the guard's.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from threadline.api.encryption import EncryptionContexts
from threadline.api.errors import error_response
from threadline.api.guard import Guard, route_path
from threadline.api.middleware import DEFERRED, BodyLimit, LastResort
from threadline.api.responses import JsonResponse
from threadline.graphs.door import Cors, Door, HeaderChoice
from threadline.settings import ApiSettings

# Under which paths the routes of each part are; the first that fits counts.
_PATHS: Mapping[str, tuple[str, ...]] = {
    "runs": ("/runs", "/threads/{thread_id}/runs"),
    "threads": ("/threads",),
    "assistants": ("/assistants",),
    "store": ("/store",),
    "mcp": ("/mcp",),
    "a2a": ("/a2a", "/.well-known/agent-card.json"),
    "meta": ("/info", "/metrics", "/docs", "/openapi.json"),
}
ALIVE = "/ok"

_HEADERS: ContextVar[Mapping[str, str] | None] = ContextVar("logged_headers", default=None)


def request_facts() -> Mapping[str, str]:
    """Return the headers that log lines of the present request are to carry."""
    return _HEADERS.get() or {}


def make_middleware(settings: ApiSettings, door: Door) -> list[Middleware]:
    """Return what surrounds the routes, outermost first.

    Preflights are answered before anybody is asked who they are. The project's middleware surrounds our routes as
    well as its own.
    """
    cors = door.cors or Cors(allow_origins=settings.cors_allow_origins)
    middleware = [_cors(cors), Middleware(LastResort), Middleware(BodyLimit, limit=settings.max_body_bytes)]
    if door.mount_prefix:
        middleware.insert(1, Middleware(Prefix, prefix=door.mount_prefix))
    if door.logging_headers is not None:
        middleware.append(Middleware(LoggedHeaders, choice=door.logging_headers))
    guard = _guard(door)
    # A stream that is put off until later would look to foreign middleware like no answer at all.
    theirs = [Middleware(Undeferred), *door.app_middleware] if door.app_middleware else []
    return middleware + (guard + theirs if door.auth_first else theirs + guard)


def _guard(door: Door) -> list[Middleware]:
    contexts = [Middleware(EncryptionContexts, encryption=door.encryption)] if door.encryption else []
    if not door.is_guarded:
        return contexts
    options: dict[str, Any] = {"rules": door.rules, "cache": door.cache, "headers": door.configurable_headers}
    return [Middleware(Guard, guards_custom=door.guards_custom, **options), *contexts]


def _cors(cors: Cors) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=cors.allow_origins,
        allow_origin_regex=cors.allow_origin_regex,
        allow_methods=cors.allow_methods,
        allow_headers=cors.allow_headers,
        allow_credentials=cors.allow_credentials,
        allow_private_network=True,
        expose_headers=cors.expose_headers,
        max_age=cors.max_age,
    )


def include(app: FastAPI, routers: Iterable[APIRouter], disabled: frozenset[str]) -> None:
    """Give `app` the routes of `routers`, and take away, of what it has by then, those of the disabled parts."""
    if "meta" in disabled:
        # Without a look at anything: so it is where the rest of this part is switched off.
        app.router.add_route(ALIVE, _alive, include_in_schema=False)
    for router in routers:
        # The routes themselves, since they are whole: `include_router` puts a second search in front of each.
        app.router.routes.extend(router.routes)
    app.router.routes[:] = _left(app.router.routes, disabled)


def _left(routes: Iterable[BaseRoute], disabled: frozenset[str]) -> list[BaseRoute]:
    return [route for route in routes if _part_of(route) not in disabled]


async def _alive(_: Any) -> JsonResponse:
    return JsonResponse({"ok": True})


def _part_of(route: BaseRoute) -> str | None:
    path = route.path_format if isinstance(route, APIRoute) else str(getattr(route, "path", ""))
    for part, starts in _PATHS.items():
        if any(path == start or path.startswith(f"{start}/") for start in starts):
            return part
    return None


def mount_custom(app: FastAPI, door: Door) -> None:
    """Give the project's application every path that is not ours."""
    if door.app is not None:
        app.router.default = door.app


@asynccontextmanager
async def running_custom(door: Door) -> AsyncIterator[None]:
    """Start and stop the project's application with ours."""
    if door.app is None:
        yield
        return
    async with door.app.router.lifespan_context(door.app) as state:
        for name, value in (state or {}).items():
            setattr(door.app.state, name, value)
        yield


class Prefix:
    """Serves everything below `prefix`, as if that were the root; whether the server lives is told at the root, too."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and route_path(scope) != ALIVE:
            path = route_path(scope)
            if path != self._prefix and not path.startswith(f"{self._prefix}/"):
                if scope["type"] == "http":
                    await error_response(404, "Not Found")(scope, receive, send)
                else:
                    await send({"type": "websocket.close", "code": 1008})
                return
            scope["root_path"] = scope.get("root_path", "") + self._prefix
        await self._app(scope, receive, send)


class LoggedHeaders:
    """Puts chosen headers into every log line that a request leads to."""

    def __init__(self, app: ASGIApp, choice: HeaderChoice) -> None:
        self._app = app
        self._choice = choice

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        chosen = self._choice.choose(given)
        with _logging({f"header_{name.replace('-', '_')}": value for name, value in chosen.items()}):
            await self._app(scope, receive, send)


@contextmanager
def _logging(headers: Mapping[str, str]) -> Iterator[None]:
    token = _HEADERS.set(headers)
    try:
        yield
    finally:
        _HEADERS.reset(token)


class Undeferred:
    """Lets every stream be sent where it is made."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.pop(DEFERRED, None)
        await self._app(scope, receive, send)
