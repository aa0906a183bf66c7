"""What becomes of an answer that is not read to its end, seen by real clients over real sockets."""

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import Event
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from threadline.api.departures import Departure, Presence, Stopping, cut

Serve = Callable[[FastAPI], AbstractContextManager[Any]]


class Endless:
    """Answers with the start of a body and keeps its departures."""

    def __init__(self) -> None:
        self.stopping = Stopping()
        self.departures: list[Departure | None] = []
        self.departed = Event()
        self.app = FastAPI()
        self.app.state.stopping = self.stopping
        self.app.mount("/", self.answer)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with Presence(receive, self.stopping) as presence:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await asyncio.Event().wait()
        self.departures.append(presence.departure)
        self.departed.set()
        if presence.departure is Departure.SHUTDOWN:
            await cut(scope, receive)


@pytest.fixture
def endless() -> Endless:
    return Endless()


def test_a_client_that_goes_away_is_noticed_at_once(endless: Endless, serve: Serve) -> None:
    with serve(endless.app) as served:
        with httpx.stream("GET", served.url) as response:
            assert next(response.iter_bytes()) == b"begun"
        assert endless.departed.wait(2)
    assert endless.departures == [Departure.CLIENT]


def test_a_stopping_server_cuts_a_stream_without_its_end(endless: Endless, serve: Serve) -> None:
    with serve(endless.app) as served, httpx.stream("GET", served.url) as response:
        chunks = response.iter_bytes()
        assert next(chunks) == b"begun"
        began = time.monotonic()
        served.stop()
        assert time.monotonic() - began < 1.5
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            next(chunks)
    assert endless.departures == [Departure.SHUTDOWN]


def test_a_cut_answer_is_no_error_in_the_log(endless: Endless, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with serve(endless.app) as served, httpx.stream("GET", served.url) as response:
        chunks = response.iter_bytes()  # held, or its end would close the connection
        next(chunks)
        served.stop()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_stopped_server_accepts_nobody(endless: Endless, serve: Serve) -> None:
    with serve(endless.app) as served:
        served.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", served.port), timeout=1)


def test_a_short_request_is_finished_while_the_server_stops(serve: Serve) -> None:
    app = FastAPI()
    app.state.stopping = Stopping()
    entered, go_on = Event(), Event()

    @app.get("/")
    def slow() -> str:
        entered.set()
        go_on.wait(5)
        return "done"

    with serve(app) as served, ThreadPoolExecutor() as executor:
        answer = executor.submit(httpx.get, served.url)
        assert entered.wait(5)
        served.server.stop()
        deadline = time.monotonic() + 5
        while not app.state.stopping.is_set and time.monotonic() < deadline:
            go_on.wait(0.01)
        go_on.set()
        assert answer.result().json() == "done"


async def test_a_block_that_ends_by_itself_is_not_interrupted_later() -> None:
    stopping = Stopping()

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async with Presence(receive, stopping) as presence:
        await asyncio.sleep(0)
    stopping.set()
    await asyncio.sleep(0)
    assert presence.departure is None


async def test_a_cancellation_from_elsewhere_goes_through() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def wait() -> None:
        async with Presence(receive, Stopping()):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_comes_after_the_stop_is_told_too() -> None:
    stopping = Stopping()
    stopping.set()

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async with Presence(receive, stopping) as presence:
        await asyncio.Event().wait()
    assert presence.departure is Departure.SHUTDOWN


async def test_a_request_that_cannot_be_read_counts_as_a_departure() -> None:
    async def receive() -> dict[str, Any]:
        raise ValueError("too much")

    async with Presence(receive, Stopping()) as presence:
        await asyncio.Event().wait()
    assert presence.departure is Departure.CLIENT
