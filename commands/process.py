"""Owns what one process of a deployment does: it imports the graphs, opens the engine, and serves HTTP if it is to.

Which database, and who restarts it, is decided by the command that starts it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from socket import socket

from fastapi import FastAPI
from langchain_core.runnables.config import var_child_runnable_config
from uvloop import new_event_loop

from threadline.api.app import create_app
from threadline.api.server import Server
from threadline.api.surroundings import request_facts
from threadline.checkpoints.pool import Database
from threadline.commands.collector import keep_what_is_there
from threadline.commands.databases import PATIENCE, await_database
from threadline.commands.semantics import chosen_embedder
from threadline.commands.stopping import run_until_stopped
from threadline.commands.storage import read_all
from threadline.commands.traces import trace_folder
from threadline.graphs.assistant import documents, fetching, model
from threadline.graphs.configuration import Configuration
from threadline.graphs.door import Door, open_door
from threadline.graphs.registry import Registry
from threadline.graphs.webhooks import webhook_rules
from threadline.runs.engine import Engine, EngineSettings, open_engine
from threadline.runs.signatures import make_signer
from threadline.runs.sweep import Keeping
from threadline.runs.webhook_policy import WebhookPolicy
from threadline.settings import ModelSettings, Settings, variables_for_program

logger = logging.getLogger("threadline.process")

OnReady = Callable[[Registry], None]


@dataclass(frozen=True, slots=True)
class Duties:
    """What the process is for: executing runs, and serving clients of `listener` if there is one.

    `patience` is how long its start waits for the database; None is for ever.
    """

    executes: bool
    listener: socket | None
    patience: timedelta | None = PATIENCE


def run_process(
    settings: Settings, configuration: Configuration, database: Database, duties: Duties, on_ready: OnReady
) -> None:
    """Run until a signal; `on_ready` is called when runs are executed and requests are answered.

    Raises CommandFailed or MigrationError when it cannot start.
    """
    registry = load_graphs(settings, configuration)
    door = None if duties.listener is None else open_door(configuration)
    webhooks = WebhookPolicy(webhook_rules(configuration, variables_for_program({})), settings.webhooks.allow_loopback)
    lifetimes, items = read_all(configuration, settings.model)
    engine = replace(
        _engine_settings(settings, executes=duties.executes), lifetimes=lifetimes, items=items, webhooks=webhooks
    )
    run_until_stopped(_live(settings, registry, database, engine, duties, on_ready, door), loop_factory=new_event_loop)


def load_graphs(settings: Settings, configuration: Configuration) -> Registry:
    """Import the graphs, after setting up the shipped one. Called outside of an event loop."""
    model.configure(
        _online(settings.model),
        model.TokenSettings(settings.model.context_tokens, settings.model.max_tokens_per_run),
    )
    fetching.configure(fetching.FetchSettings(settings.fetch.allow_loopback, ca_file=settings.fetch.ca_file))
    return Registry(configuration)


def _online(settings: ModelSettings) -> model.ModelSettings | None:
    """How the model is reached; None without a key."""
    if settings.openai_api_key is None:
        return None
    return model.ModelSettings(
        api_key=settings.openai_api_key.get_secret_value(),
        model=settings.name,
        base_url=settings.openai_base_url,
        fallback=settings.fallback,
        timeout=settings.timeout,
        deadline=settings.deadline,
        answers_only=settings.answers_only,
    )


def graph_facts() -> Mapping[str, str]:
    """Say in which run a graph's own code logs, and which headers of a request are to be logged."""
    config = var_child_runnable_config.get() or {}
    configurable = config.get("configurable", {})
    run: dict[str, str] = {name: str(configurable[name]) for name in ("run_id", "thread_id") if name in configurable}
    return {**request_facts(), **run}


async def _live(
    settings: Settings,
    registry: Registry,
    database: Database,
    engine_settings: EngineSettings,
    duties: Duties,
    on_ready: OnReady,
    door: Door | None,
) -> None:
    await await_database(database, duties.patience)
    async with _open_engine(settings, registry, database, engine_settings) as engine:
        if duties.listener is None:
            keep_what_is_there()
            on_ready(registry)
            await asyncio.Event().wait()
        else:
            await _serve(settings, engine, duties.listener, door, lambda: on_ready(registry))


@asynccontextmanager
async def _open_engine(
    settings: Settings, registry: Registry, database: Database, engine_settings: EngineSettings
) -> AsyncIterator[Engine]:
    try:
        async with open_engine(database, registry, engine_settings) as engine:
            # No other task has had a turn since the engine opened, so no run is without it.
            documents.connect(engine.pool, chosen_embedder(settings.model))
            yield engine
    finally:
        documents.disconnect()


async def _serve(
    settings: Settings, engine: Engine, listener: socket, door: Door | None, on_ready: Callable[[], None]
) -> None:
    """Serve until cancelled; then stop in order."""

    @asynccontextmanager
    async def lend() -> AsyncIterator[Engine]:
        yield engine

    server = _Server(create_app(lend, settings.api, door), listener, settings.worker.drain, on_ready)
    serving = asyncio.create_task(server.serve(), name="http")
    try:
        await asyncio.shield(serving)
    finally:
        server.stop()
        await serving


class _Server(Server):
    """A server that is stopped by its owner instead of signals, and tells when it takes requests."""

    def __init__(self, app: FastAPI, listener: socket, drain: timedelta, on_ready: Callable[[], None]) -> None:
        super().__init__(app, listener, drain)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        keep_what_is_there()
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _engine_settings(settings: Settings, *, executes: bool) -> EngineSettings:
    worker = settings.worker
    return EngineSettings(
        executes=executes,
        concurrency=worker.run_concurrency,
        lease=worker.lease,
        lease_renew=worker.lease_renew,
        poll=worker.poll,
        run_timeout=worker.run_timeout,
        drain=worker.drain,
        max_attempts=worker.max_attempts,
        max_pending_runs=settings.api.max_pending_runs,
        tracing=settings.tracing,
        trace_spool=trace_folder(settings),
        keep=settings.keep,
        signer=make_signer(secret.get_secret_value() for secret in settings.webhooks.secrets),
        keeping=Keeping(timedelta(days=settings.webhooks.settled_days), timedelta(days=settings.webhooks.dead_days)),
    )
