"""The table from errors to statuses, as a client meets it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from socket import socket
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from threadline.api.departures import Stopping
from threadline.api.errors import STATUS_OF, BodyTooLarge, ContradictoryRequest, InvalidRequest, install_error_table
from threadline.runs import errors
from threadline.runs.errors import (
    AssistantNotFound,
    AssistantOfSystem,
    CheckpointNotFound,
    CursorTrimmed,
    EmbeddingFailed,
    Invalid,
    InvalidItem,
    InvalidState,
    NothingToCancel,
    Overloaded,
    RunError,
    RunNotFound,
    ThreadBusy,
    ThreadExists,
    ThreadGone,
    ThreadNotFound,
    TooManyPending,
    UnknownGraph,
)

Serve = Callable[[FastAPI], AbstractContextManager[Any]]

ID = uuid4()
STATUSES: list[tuple[Exception, int]] = [
    (ContradictoryRequest("one or the other"), 400),
    (ThreadNotFound(ID), 404),
    (RunNotFound(ID), 404),
    (AssistantNotFound(ID), 404),
    (CheckpointNotFound(ID, "1f"), 404),
    (NothingToCancel("No runs found to cancel."), 404),
    (ThreadBusy(), 409),
    (ThreadExists(ID), 409),
    (ThreadGone(ID), 410),
    (CursorTrimmed(3, 7), 410),
    (BodyTooLarge(9), 413),
    (InvalidRequest("no"), 422),
    (Invalid("no"), 422),
    (UnknownGraph("no"), 422),
    (InvalidState("no"), 400),
    (InvalidItem("no"), 400),
    (AssistantOfSystem("no"), 409),
    (EmbeddingFailed("no"), 503),
    (TooManyPending(10, retry_after=4), 429),
    (Overloaded(10, retry_after=4), 503),
    (RunError("the server is shutting down; send the request again"), 503),
]


@pytest.fixture(scope="module")
def raised() -> list[Exception]:
    return []


@pytest.fixture
def url(serve: Serve, raised: list[Exception]) -> Iterator[str]:
    app = FastAPI()
    app.state.stopping = Stopping()
    install_error_table(app)

    @app.get("/")
    async def fail() -> None:
        raise raised.pop()

    with serve(app) as served:
        yield served.url


def test_every_error_has_its_status_and_tells_its_text(url: str, raised: list[Exception]) -> None:
    for error, status in STATUSES:
        raised.append(error)
        answer = httpx.get(url)
        assert (answer.status_code, answer.json()) == (status, {"detail": str(error)})


def test_who_comes_too_early_is_told_when_to_come_again(url: str, raised: list[Exception]) -> None:
    for error in (TooManyPending(10, retry_after=4), Overloaded(10, retry_after=4)):
        raised.append(error)
        assert httpx.get(url).headers["retry-after"] == "4"


def test_a_database_that_is_away_is_a_matter_of_time_and_its_text_stays_inside(
    url: str, raised: list[Exception]
) -> None:
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(f"host=127.0.0.1 port={taken.getsockname()[1]} user=secret")
    raised.append(refused.value)
    answer = httpx.get(url)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {
        "detail": "The database cannot take the request at the moment. Try again in a few seconds."
    }


def test_no_error_of_runs_is_missing_from_the_table() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert kinds
    assert all(any(base in STATUS_OF for base in kind.__mro__) for kind in kinds)
