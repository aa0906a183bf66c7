"""Owns what the HTTP layer is made of: its parts in the order they start, its routes, what surrounds them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from threadline.api import assistants, bulk, crons, replay, runs, stateless, states, system, threads
from threadline.api.answers import Answers
from threadline.api.departures import Stopping
from threadline.api.errors import install_error_table
from threadline.api.middleware import BodyLimit, LastResort
from threadline.api.openapi import install_openapi
from threadline.api.responses import JsonResponse
from threadline.runs.engine import Engine
from threadline.settings import ApiSettings

OpenEngine = Callable[[], AbstractAsyncContextManager[Engine]]

# The first match is taken: what is asked for most stands first.
ROUTERS = (
    runs.router,
    stateless.router,
    bulk.router,
    crons.router,
    states.router,
    threads.router,
    assistants.router,
    replay.router,
    system.router,
)

EXPOSED_HEADERS = ("content-location", "location", "x-pagination-next", "x-pagination-total", "x-request-id")


def create_app(open_engine: OpenEngine, settings: ApiSettings) -> FastAPI:
    """Return the application; the engine is opened when it starts and closed when it ends.

    `app.state.stopping` is for the server: setting it cuts the open streams.
    """
    stopping = Stopping()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_engine() as engine:
            app.state.engine = engine
            engine.webhooks.local_app = app
            app.state.answers = Answers(engine, stopping, settings.heartbeat.total_seconds())
            yield

    app = FastAPI(
        title="Threadline",
        version=version("threadline"),
        description="Durable LangGraph runs on your own Postgres.",
        lifespan=lifespan,
        middleware=_middleware(settings),
        default_response_class=JsonResponse,
        redirect_slashes=False,
        redoc_url=None,
    )
    app.state.stopping = stopping
    install_error_table(app)
    for router in ROUTERS:
        app.include_router(router)
    install_openapi(app, ROUTERS)
    return app


def _middleware(settings: ApiSettings) -> list[Middleware]:
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_allow_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=EXPOSED_HEADERS,
        ),
        Middleware(LastResort),
        Middleware(BodyLimit, limit=settings.max_body_bytes),
    ]
