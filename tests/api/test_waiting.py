"""An answer that takes as long as a run: what a client sees before, at and instead of the result."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from threading import Event
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, Response

from threadline.api import waiting
from threadline.api.departures import Stopping
from threadline.api.errors import install_error_table
from threadline.api.waiting import Waiting
from threadline.runs.errors import ThreadNotFound

Serve = Callable[[FastAPI], AbstractContextManager[Any]]
HEARTBEAT = 0.05


class Waiter:
    """Serves `Waiting` for a result that the test decides on."""

    def __init__(self, result: Callable[[], Awaitable[bytes]], heartbeat: float = HEARTBEAT) -> None:
        self.abandoned = Event()
        self.app = FastAPI()
        self.app.state.stopping = Stopping()
        install_error_table(self.app)

        async def abandon() -> None:
            self.abandoned.set()

        @self.app.get("/")
        async def wait() -> Response:
            return Waiting(
                result,
                heartbeat=heartbeat,
                stopping=self.app.state.stopping,
                headers={"location": "/again"},
                on_abandoned=abandon,
            )


async def _never() -> bytes:
    await asyncio.Event().wait()
    return b"{}"


def test_a_quick_result_is_an_ordinary_answer(serve: Serve) -> None:
    async def quick() -> bytes:
        return b'{"n":1}'

    with serve(Waiter(quick).app) as served:
        response = httpx.get(served.url)
    assert response.json() == {"n": 1}
    assert response.headers["content-length"] == "7"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["location"] == "/again"


def test_a_slow_result_comes_behind_headers_and_white_space(serve: Serve) -> None:
    async def slow() -> bytes:
        await asyncio.sleep(HEARTBEAT * 3.5)
        return b'{"n":1}'

    with serve(Waiter(slow).app) as served, httpx.stream("GET", served.url) as response:
        assert response.status_code == 200
        assert response.headers["location"] == "/again"
        body = b"".join(response.iter_bytes())
    assert body.startswith(b"\n")
    assert json.loads(body) == {"n": 1}


def test_the_headers_of_a_slow_result_do_not_wait_for_the_first_heartbeat(serve: Serve) -> None:
    """A client that is cut off before that knows which run it has started, and where to go on waiting."""
    has_ended = Event()

    async def slow() -> bytes:
        await asyncio.to_thread(has_ended.wait, 10)
        return b'{"n":1}'

    waiter = Waiter(slow, heartbeat=60)
    with serve(waiter.app) as served, httpx.stream("GET", served.url, timeout=5) as response:
        assert response.status_code == 200
        assert response.headers["location"] == "/again"
        assert "content-length" not in response.headers
        has_ended.set()
        assert response.read() == b'{"n":1}'


def test_a_quick_failure_has_its_status(serve: Serve) -> None:
    thread_id = uuid4()

    async def fail() -> bytes:
        raise ThreadNotFound(thread_id)

    with serve(Waiter(fail).app) as served:
        response = httpx.get(served.url)
    assert response.status_code == 404
    assert response.json() == {"detail": f"Thread with ID {thread_id} not found"}


def test_a_late_failure_is_told_in_the_body(serve: Serve) -> None:
    thread_id = uuid4()

    async def fail() -> bytes:
        await asyncio.sleep(HEARTBEAT * 2)
        raise ThreadNotFound(thread_id)

    with serve(Waiter(fail).app) as served:
        response = httpx.get(served.url)
    assert response.status_code == 200
    assert response.json() == {
        "__error__": {"error": "ThreadNotFound", "message": f"Thread with ID {thread_id} not found"}
    }


def test_a_client_that_hangs_up_is_reported(serve: Serve) -> None:
    waiter = Waiter(_never)
    with serve(waiter.app) as served:
        with httpx.stream("GET", served.url):
            pass
        assert waiter.abandoned.wait(2)


@pytest.mark.parametrize("prompt", [0.02, 60.0], ids=["after headers", "before headers"])
def test_a_stopping_server_sends_a_waiting_client_elsewhere(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, prompt: float
) -> None:
    monkeypatch.setattr(waiting, "PROMPT_SECONDS", prompt)
    begun = Event()

    async def never() -> bytes:
        begun.set()
        return await _never()

    waiter = Waiter(never, heartbeat=60)
    with serve(waiter.app) as served:

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient() as client, client.stream("GET", served.url) as response:
                assert response.headers["location"] == "/again"
                with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                    await response.aread()
                return response

        async def ask_and_stop() -> httpx.Response:
            asked = asyncio.create_task(ask())
            await asyncio.to_thread(begun.wait, 5)
            served.server.stop()
            return await asked

        assert asyncio.run(ask_and_stop()).status_code == 200
    assert not waiter.abandoned.is_set()
