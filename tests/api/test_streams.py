"""A run's stream on the wire: bytes, headers, resuming, filtering, heartbeats, and clients that go away."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

Serve = Callable[[FastAPI], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    data: Any
    id: str


def parse(body: str) -> list[Event]:
    frames = [frame for frame in body.split("\r\n\r\n") if frame.startswith("event:")]
    fields = [dict(line.split(": ", 1) for line in frame.split("\r\n")) for frame in frames]
    return [Event(field["event"], json.loads(field["data"]), field["id"]) for field in fields]


def start(http: httpx.Client, thread_id: str, graph: str = "ticking", **fields: Any) -> dict[str, Any]:
    body = {"assistant_id": graph, "input": {"n": 10}, "stream_mode": ["custom", "values"], **fields}
    run: dict[str, Any] = http.post(f"/threads/{thread_id}/runs", json=body).raise_for_status().json()
    return run


def path_of(run: dict[str, Any]) -> str:
    return f"/threads/{run['thread_id']}/runs/{run['run_id']}"


def events_of(http: httpx.Client, run: dict[str, Any], last_event_id: str = "-", **params: Any) -> list[Event]:
    answer = http.get(f"{path_of(run)}/stream", headers={"last-event-id": last_event_id}, params=params)
    return parse(answer.raise_for_status().text)


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        threading.Event().wait(0.02)


def has_status(http: httpx.Client, run: dict[str, Any], status: str) -> bool:
    return bool(http.get(path_of(run)).json()["status"] == status)


def test_the_headers_are_those_of_the_contract(http: httpx.Client, thread_id: str) -> None:
    body = {"assistant_id": "steps", "input": {"n": 1}}
    answer = http.post(f"/threads/{thread_id}/runs/stream", json=body)
    run = answer.headers["content-location"]
    assert run.startswith(f"/threads/{thread_id}/runs/")
    assert answer.headers["location"] == f"{run}/stream"
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert http.get(f"{run}/stream").headers["location"] == f"{run}/stream"


def test_a_stream_passes_what_surrounds_every_answer(http: httpx.Client, thread_id: str) -> None:
    headers = {"origin": "https://studio.example", "x-request-id": "mine-1"}
    body = {"assistant_id": "steps", "input": {"n": 1}}
    for route in ("stream", "wait"):
        answer = http.post(f"/threads/{thread_id}/runs/{route}", json=body, headers=headers)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["x-request-id"] == "mine-1"


def test_a_stateless_stream_can_be_resumed_at_its_location(http: httpx.Client) -> None:
    answer = http.post("/runs/stream", json={"assistant_id": "steps", "input": {"n": 1}})
    run_id = answer.headers["content-location"].removeprefix("/runs/")
    assert answer.headers["location"].endswith(f"/runs/{run_id}/stream")
    again = http.get(answer.headers["location"], headers={"last-event-id": "-"})
    assert again.text == answer.text


def test_the_bytes_are_event_data_id_with_crlf(http: httpx.Client, thread_id: str) -> None:
    body = {"assistant_id": "steps", "input": {"n": 1}, "stream_mode": "updates"}
    answer = http.post(f"/threads/{thread_id}/runs/stream", json=body)
    run_id = answer.headers["content-location"].rpartition("/")[2]
    first, second, *_ = answer.content.split(b"\r\n\r\n")
    assert first.split(b"\r\n")[:2] == [
        b"event: metadata",
        b'data: {"run_id":"%s","attempt":1}' % run_id.encode(),
    ]
    assert second.split(b"\r\n")[:2] == [b"event: updates", b'data: {"plan":{"n":2,"log":["plan"]}}']
    assert answer.content.endswith(b"\r\n\r\n")
    assert b"\n" not in answer.content.replace(b"\r\n", b"")


def test_a_client_cut_at_any_event_resumes_without_gap_or_double(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id)
    whole = events_of(http, run)
    assert [event.name for event in whole] == ["metadata", "values", *["custom"] * 10, "values"]
    for position, event in enumerate(whole):
        assert events_of(http, run, event.id) == whole[position + 1 :]


def test_a_stream_opened_while_the_run_works_continues_live(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id, input={"n": 30})
    with http.stream("GET", f"{path_of(run)}/stream", headers={"last-event-id": "-1"}) as answer:
        followed = parse(answer.read().decode())
    assert followed == events_of(http, run)
    assert len(followed) == 33


def test_without_a_cursor_a_stream_starts_now(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id, input={"n": 30})
    wait_for(lambda: has_status(http, run, "running"))
    with http.stream("GET", f"{path_of(run)}/stream") as answer:
        tail = parse(answer.read().decode())
    whole = events_of(http, run)
    assert 0 < len(tail) < len(whole)
    assert tail == whole[-len(tail) :]


def test_a_finished_run_has_nothing_live(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id, "steps")
    http.get(f"{path_of(run)}/join")
    answer = http.get(f"{path_of(run)}/stream")
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_a_stream_shows_its_own_run_only(http: httpx.Client, thread_id: str) -> None:
    first, second = start(http, thread_id), start(http, thread_id)
    http.get(f"{path_of(second)}/join")
    ids = {event.id for event in events_of(http, first)} & {event.id for event in events_of(http, second)}
    assert ids == set()
    assert events_of(http, second)[0].data["run_id"] == second["run_id"]
    past = events_of(http, first)[-1].id
    assert events_of(http, second, past) == events_of(http, second)


@pytest.mark.parametrize(
    ("modes", "shown"),
    [
        (["custom"], {"custom"}),
        (["custom", "values"], {"custom", "values"}),
        (["custom,values"], {"custom", "values"}),
        (['["custom","values"]'], {"custom", "values"}),
        ([""], {"metadata", "custom", "values"}),
        (["updates"], set()),
    ],
)
def test_a_joiner_filters_by_mode(http: httpx.Client, thread_id: str, modes: list[str], shown: set[str]) -> None:
    run = start(http, thread_id, input={"n": 1})
    assert {event.name for event in events_of(http, run, stream_mode=modes)} == shown


def test_subgraphs_are_named_behind_a_bar(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id, "nested", stream_mode=["updates"], stream_subgraphs=True)
    names = [event.name for event in events_of(http, run)]
    assert names[0] == "metadata"
    assert len([name for name in names if name.startswith("updates|inner:")]) == 3
    assert names[-1] == "updates"


def test_a_cursor_from_beyond_the_log_starts_over(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id)
    assert events_of(http, run, "999999") == events_of(http, run)


def test_an_idle_stream_shows_a_sign_of_life(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id, after_seconds=3600)
    with http.stream("GET", f"{path_of(run)}/stream") as answer:
        chunks = answer.iter_bytes()
        assert [next(chunks), next(chunks), next(chunks)] == [b"id: 0\r\n\r\n", *[b": heartbeat\r\n\r\n"] * 2]
    http.post(f"{path_of(run)}/cancel", params={"wait": 1})


def test_a_filtered_stream_shows_a_sign_of_life_while_others_events_pass(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id, input={"n": 40})
    with http.stream("GET", f"{path_of(run)}/stream", params={"stream_mode": "updates"}) as answer:
        body = answer.read()
    assert set(body.split(b"\r\n\r\n")[1:]) == {b": heartbeat", b""}


@pytest.mark.parametrize("route", ["POST", "GET"])
def test_a_client_that_is_cut_before_the_first_event_knows_where_to_come_back(
    http: httpx.Client, thread_id: str, route: str
) -> None:
    first = start(http, thread_id, "ticking", input={"n": 30})
    body = {"assistant_id": "steps", "input": {"n": 1}, "stream_mode": "updates"}
    path = f"/threads/{thread_id}/runs/stream" if route == "POST" else f"{path_of(first)}/stream"
    with http.stream(route, path, json=body if route == "POST" else None) as answer:
        field, _, place = next(answer.iter_bytes()).decode().splitlines()[0].partition(": ")
        location = answer.headers["location"]
    wait_for(lambda: has_status(http, first, "success"))
    assert field == "id"
    behind = parse(http.get(location, headers={"last-event-id": place}).text)
    whole = parse(http.get(location, headers={"last-event-id": "-"}).text)
    assert behind
    assert behind == (whole if route == "POST" else whole[-len(behind) :])


@pytest.mark.parametrize(
    ("on_disconnect", "status"), [("cancel", "interrupted"), ("continue", "success"), (None, "success")]
)
@pytest.mark.parametrize("route", ["stream", "wait"])
def test_what_a_run_does_when_its_client_goes_away(
    http: httpx.Client, thread_id: str, route: str, on_disconnect: str | None, status: str
) -> None:
    fields = {"on_disconnect": on_disconnect} if on_disconnect else {}
    body = {"assistant_id": "ticking", "input": {"n": 30}, "stream_mode": "custom", **fields}
    with http.stream("POST", f"/threads/{thread_id}/runs/{route}", json=body) as answer:
        run = answer.headers["content-location"]
    wait_for(lambda: http.get(run).json()["status"] == status)


@pytest.mark.parametrize("route", ["stream", "join"])
def test_a_joiner_that_goes_away_cancels_only_if_it_said_so(http: httpx.Client, thread_id: str, route: str) -> None:
    run = start(http, thread_id, input={"n": 1000})
    with http.stream("GET", f"{path_of(run)}/{route}") as answer:
        next(answer.iter_bytes())
    assert has_status(http, run, "running")
    with http.stream("GET", f"{path_of(run)}/{route}", params={"cancel_on_disconnect": True}) as answer:
        next(answer.iter_bytes())
    wait_for(lambda: has_status(http, run, "interrupted"))


def test_the_stream_of_a_cancelled_run_ends_without_an_error(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id, input={"n": 1000})
    with http.stream("GET", f"{path_of(run)}/stream") as answer:
        chunks = answer.iter_bytes()
        next(chunks)
        http.post(f"{path_of(run)}/cancel")
        rest = b"".join(chunks)
    assert b"event: error" not in rest


def test_a_stream_whose_thread_is_deleted_says_so(http: httpx.Client, thread_id: str) -> None:
    run = start(http, thread_id, after_seconds=3600)
    with http.stream("GET", f"{path_of(run)}/stream") as answer:
        chunks = answer.iter_bytes()
        next(chunks)
        http.delete(f"/threads/{thread_id}")
        rest = b"".join(chunks)
    assert b'event: error\r\ndata: {"error":"ThreadGone","message":"Thread with ID ' in rest


def test_a_wait_that_lasts_begins_with_white_space(http: httpx.Client, thread_id: str) -> None:
    body = {"assistant_id": "ticking", "input": {"n": 40}}
    answer = http.post(f"/threads/{thread_id}/runs/wait", json=body)
    assert answer.content.startswith(b"\n")
    assert answer.json() == {"n": 40, "log": ["ticked"]}
    assert answer.headers["location"] == f"{answer.headers['content-location']}/join"


def test_a_run_rolled_back_under_its_waiter_leaves_the_threads_values(http: httpx.Client, thread_id: str) -> None:
    before = http.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": "steps", "input": {"n": 1}}).json()
    body = {"assistant_id": "ticking", "input": {"n": 1000}}
    with http.stream("POST", f"/threads/{thread_id}/runs/wait", json=body) as answer:
        run = answer.headers["content-location"]
        http.post(f"{run}/cancel", params={"action": "rollback"})
        waited = json.loads(answer.read())
    assert waited == before
    assert http.get(run).status_code == 404


def read_while_it_stops(server: Any, run: dict[str, Any], received: bytearray) -> None:
    """Read a stream, and stop its server after the third event."""
    with (
        httpx.Client(base_url=server.url, timeout=20) as client,
        client.stream("GET", f"{path_of(run)}/stream", headers={"last-event-id": "-"}) as answer,
    ):
        for chunk in answer.iter_bytes():
            received += chunk
            if received.count(b"event: custom") >= 3 and server.thread.is_alive():
                server.stop()


@pytest.fixture
def two_servers(serve: Serve, make_app: Callable[[], FastAPI]) -> Iterator[tuple[Any, Any]]:
    with serve(make_app()) as first, serve(make_app()) as second:
        yield first, second


def test_a_client_of_a_stopping_server_resumes_at_another(
    two_servers: tuple[Any, Any],
) -> None:
    stopped, other = two_servers
    with httpx.Client(base_url=other.url, timeout=20) as http:
        thread_id = http.post("/threads", json={}).json()["thread_id"]
        run = start(http, thread_id, input={"n": 60})
        received = bytearray()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            read_while_it_stops(stopped, run, received)
        seen = parse(received.decode())
        rest = events_of(http, run, seen[-1].id)
        assert seen + rest == events_of(http, run)
        assert rest[-1].data["log"] == ["ticked"]
