"""Owns serving an application over a real socket, by our own server, in a thread of the test.

Most tests share one engine on one database and keep to threads of their own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from socket import socket
from threading import Event, Thread
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.api.app import create_app
from threadline.api.server import Server
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.engine import EngineSettings, open_engine
from threadline.settings import ApiSettings
from threadline.tests.laboratory.places import plain, reach

GRAPHS = Path(__file__).with_name("served_graphs.py")
STREAMED_GRAPHS = Path(__file__).with_name("streamed_graphs.py")
NAMES = ("steps", "asking", "ticking", "failing", "configured", "nested")
STREAMED = ["talking", "chorus", "broken_off", "asking", "asking_twice", "nested", "nested_asking", "nested_failing"]
STREAMED += ["dozing", "failing", "calling", "projecting"]
HEARTBEAT = timedelta(seconds=0.3)
MAX_BODY = 100_000


@dataclass
class Served:
    """An application that is being served at `url`; leaving its block stops the server."""

    url: str
    port: int
    server: Server
    thread: Thread

    def stop(self) -> None:
        """Stop the server and wait until it has."""
        self.server.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


Serve = Callable[[FastAPI], AbstractContextManager[Served]]


class _ReportingServer(Server):
    """Tells when it takes requests."""

    ready: Event

    async def startup(self, sockets: list[socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()


@contextmanager
def serve_app(app: FastAPI, drain: timedelta = timedelta(seconds=2)) -> Iterator[Served]:
    listener = socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    server = _ReportingServer(app, listener, drain)
    server.ready = Event()
    factory = server.config.get_loop_factory()
    assert factory is not None

    def run() -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(server.serve())

    thread = Thread(target=run, name="server")
    thread.start()
    assert server.ready.wait(30)
    served = Served(f"http://127.0.0.1:{port}", port, server, thread)
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture
def serve() -> Serve:
    """Serve an application for the length of a `with` block."""
    return serve_app


def engine_settings(*, executes: bool = True) -> EngineSettings:
    """A process of one test."""
    return EngineSettings(
        executes=executes,
        concurrency=32,
        lease=timedelta(seconds=3),
        lease_renew=timedelta(seconds=0.5),
        poll=timedelta(seconds=0.2),
        run_timeout=timedelta(seconds=60),
        drain=timedelta(seconds=5),
        max_attempts=3,
        max_pending_runs=1000,
    )


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The graphs of `served_graphs`, and one that cannot be imported."""
    file = tmp_path_factory.mktemp("served") / "langgraph.json"
    graphs = {name: f"{GRAPHS}:{name}" for name in NAMES}
    graphs |= {f"streamed_{name}": f"{STREAMED_GRAPHS}:{name}" for name in STREAMED}
    file.write_text(json.dumps({"graphs": graphs | {"broken": f"{GRAPHS}:missing"}}))
    return Registry(load_configuration(file))


def _make_app(dsn: str, registry: Registry) -> FastAPI:
    return create_app(
        lambda: open_engine(reach(dsn), registry, engine_settings()),
        ApiSettings(heartbeat=HEARTBEAT, max_body_bytes=MAX_BODY),
    )


@pytest.fixture
def make_app(dsn: str, registry: Registry) -> Callable[[], FastAPI]:
    """Make the whole application, over the test's own database."""
    return lambda: _make_app(dsn, registry)


@pytest.fixture(scope="session")
def url(server_dsn: str, template_database: str, registry: Registry) -> Iterator[str]:
    """The address of a server that all tests share."""
    name = f"threadline_api_{uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template_database))
        )
    with serve_app(_make_app(plain(make_conninfo(server_dsn, dbname=name)), registry)) as served:
        yield served.url
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    """A plain client of the shared server."""
    with httpx.Client(base_url=url, timeout=20) as client:
        yield client


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[LangGraphClient]:
    """The official client of the shared server."""
    async with get_client(url=url, api_key=None) as client:
        yield client


@pytest.fixture
def sync_sdk(url: str) -> Iterator[SyncLangGraphClient]:
    """The official blocking client of the shared server."""
    with get_sync_client(url=url, api_key=None) as client:
        yield client


@pytest.fixture
def thread_id(http: httpx.Client) -> str:
    """A thread of the test's own."""
    made: str = http.post("/threads", json={}).json()["thread_id"]
    return made
