"""Owns the proof that events and commands of a thread are for those whom the project's handlers let read it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from threadline.tests.api.event_world import Thread, data
from threadline.tests.api.guarded_world import client_of, serve_project, write_project


@pytest.fixture(scope="module")
def url(server_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config: Path = write_project(tmp_path_factory.mktemp("guarded"))
    with serve_project(server_dsn, template_database, config) as served:
        yield served


@pytest.fixture
def alice(url: str) -> Iterator[httpx.Client]:
    with client_of(url, "alice") as client:
        yield client


@pytest.fixture
def bob(url: str) -> Iterator[httpx.Client]:
    with client_of(url, "bob") as client:
        yield client


def as_seen_by(client: httpx.Client, thread: Thread) -> Thread:
    seen = Thread(client)
    seen.id = thread.id
    return seen


def test_the_owner_of_a_thread_follows_it(alice: httpx.Client) -> None:
    thread = Thread(alice)
    thread.start("telling", {})
    events = thread.read()
    assert data(events[-1])["event"] == "completed"
    told = [data(event)["told"] for event in events if event["method"] == "values"][-1]
    assert told["identity"] == "alice"


def test_nobody_else_reads_or_changes_it(url: str, alice: httpx.Client, bob: httpx.Client) -> None:
    thread = Thread(alice)
    thread.start("telling", {})
    thread.read()
    body: dict[str, Any] = {"channels": ["values"]}
    command = {"id": 1, "method": "state.get", "params": {"namespace": []}}
    with client_of(url) as stranger:
        for client, status in ((bob, 404), (stranger, 401)):
            assert client.post(f"/threads/{thread.id}/stream/events", json=body).status_code == status
            assert client.post(f"/threads/{thread.id}/commands", json=command).status_code == status


def test_a_listener_who_was_there_first_hears_nothing_of_what_others_start(
    alice: httpx.Client, bob: httpx.Client
) -> None:
    thread = Thread(alice)
    with as_seen_by(bob, thread).stream(["lifecycle"]) as events:
        thread.start("telling", {})
        thread.read()
        (last,) = list(events)
    assert (last["type"], last["id"]) == ("error", None)
    assert "not found" in last["message"]


def test_a_socket_asks_who_is_there(url: str, alice: httpx.Client) -> None:
    thread = Thread(alice)
    thread.start("telling", {})
    thread.read()
    address = f"{url.replace('http', 'ws')}/threads/{thread.id}/stream/events"
    with connect(address, additional_headers={"authorization": "Bearer alice"}) as socket:
        socket.send('{"id": 1, "method": "agent.getTree"}')
        assert '"success"' in str(socket.recv(10))
    for headers in ({}, {"authorization": "Bearer bob"}):
        with pytest.raises(InvalidStatus) as refused:
            connect(address, additional_headers=headers)
        assert refused.value.response.status_code == (404 if headers else 401)


def test_an_unknown_thread_is_nobodys(bob: httpx.Client) -> None:
    assert Thread(bob).refused("state.get", id=str(uuid4())) == "no_such_run"
