"""Around every request: the size limit, the request id, and the last resort."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.middleware import Middleware
from starlette.responses import StreamingResponse

from threadline.api.departures import Stopping
from threadline.api.errors import install_error_table
from threadline.api.middleware import BodyLimit, LastResort

Serve = Callable[[FastAPI], AbstractContextManager[Any]]
LIMIT = 1000


@pytest.fixture
def url(serve: Serve) -> Iterator[str]:
    app = FastAPI(middleware=[Middleware(LastResort), Middleware(BodyLimit, limit=LIMIT)])
    app.state.stopping = Stopping()
    install_error_table(app)

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret of the house")

    @app.get("/breaks")
    async def breaks() -> Response:
        async def body() -> Any:
            yield b"begun"
            raise RuntimeError("secret of the house")

        return StreamingResponse(body())

    with serve(app) as served:
        yield served.url


def test_a_body_at_the_limit_is_taken(url: str) -> None:
    assert httpx.post(f"{url}/size", content=b"x" * LIMIT).json() == LIMIT


@pytest.mark.parametrize("size", [LIMIT + 1, 10_000_000])
def test_a_body_over_the_limit_is_refused(url: str, size: int) -> None:
    response = httpx.post(f"{url}/size", content=b"x" * size)
    assert response.status_code == 413
    assert response.json() == {
        "detail": "The request body is larger than 1000 bytes. Send less, or raise THREADLINE_MAX_BODY_BYTES."
    }


def test_a_body_of_unannounced_length_is_refused_when_it_passes_the_limit(url: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    response = httpx.post(f"{url}/size", content=chunks())
    assert response.status_code == 413
    assert "larger than 1000 bytes" in response.json()["detail"]


def test_the_connection_serves_on_behind_a_refused_body(url: str) -> None:
    with httpx.Client() as client:
        assert client.post(f"{url}/size", content=b"x" * 100_000).status_code == 413
        assert client.post(f"{url}/size", content=b"x").json() == 1


def test_an_unforeseen_failure_tells_the_client_nothing_but_its_id(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "threadline.api"):
        response = httpx.get(f"{url}/broken", headers={"x-request-id": "mine-1"})
    assert response.status_code == 500
    assert response.json() == {"detail": "Internal Server Error"}
    assert response.headers["x-request-id"] == "mine-1"
    logged = [record for record in caplog.records if record.message == "request.failed"]
    assert [record.__dict__["request_id"] for record in logged] == ["mine-1"]
    assert logged[0].exc_info is not None


def test_the_connection_serves_on_behind_a_failure(url: str) -> None:
    with httpx.Client() as client:
        assert client.get(f"{url}/broken").status_code == 500
        assert client.post(f"{url}/size", content=b"x").json() == 1


def test_every_answer_has_an_id_of_its_own(url: str) -> None:
    ids = {httpx.post(f"{url}/size").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_an_answer_that_fails_in_its_middle_is_cut(url: str) -> None:
    with (
        httpx.stream("GET", f"{url}/breaks") as response,
        pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"),
    ):
        response.read()
