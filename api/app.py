"""Owns what the HTTP layer is made of: its parts in the order they start, its routes, what surrounds them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from threadline.api import (
    assistants,
    blueprints,
    bulk,
    crons,
    event_streaming,
    metrics,
    protocols,
    replay,
    runs,
    stateless,
    states,
    store,
    system,
    threads,
    webhooks,
)
from threadline.api.answers import Answers
from threadline.api.departures import Stopping
from threadline.api.documentation import install_documentation
from threadline.api.errors import install_error_table
from threadline.api.openapi import install_openapi
from threadline.api.responses import JsonResponse
from threadline.api.surroundings import include, make_middleware, mount_custom, running_custom
from threadline.graphs.door import Door
from threadline.runs.engine import Engine
from threadline.settings import ApiSettings

OpenEngine = Callable[[], AbstractAsyncContextManager[Engine]]

# The first match is taken: what is asked for most stands first.
ROUTERS = (
    runs.router,
    stateless.router,
    bulk.router,
    crons.router,
    webhooks.router,
    states.router,
    event_streaming.router,
    threads.router,
    assistants.router,
    blueprints.router,
    store.router,
    replay.router,
    protocols.router,
    metrics.router,
    system.router,
)


def create_app(open_engine: OpenEngine, settings: ApiSettings, door: Door | None = None) -> FastAPI:
    """Return the application; the engine is opened when it starts and closed when it ends.

    `door` is what langgraph.json puts around the routes.
    `app.state.stopping` is for the server: setting it cuts the open streams.
    """
    stopping = Stopping()
    door = door or Door()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_engine() as engine:
            app.state.engine = engine
            engine.webhooks.courier.local_app = app
            app.state.protocols = {}
            app.state.answers = Answers(engine, stopping, settings.heartbeat.total_seconds())
            async with running_custom(door):
                yield

    app = FastAPI(
        title="Threadline",
        version=version("threadline"),
        description="Durable LangGraph runs on your own Postgres.",
        lifespan=lifespan,
        middleware=make_middleware(settings, door),
        default_response_class=JsonResponse,
        redirect_slashes=False,
        docs_url=None,  # that page takes its scripts from a network
        redoc_url=None,
    )
    app.state.stopping = stopping
    install_error_table(app)
    include(app, ROUTERS, door.disabled)
    if "meta" not in door.disabled:
        install_documentation(app)
    mount_custom(app, door)
    install_openapi(app, ROUTERS, door.openapi)
    return app
