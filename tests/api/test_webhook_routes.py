"""The routes of webhooks and of what became of crons, as any client and as two users of one server see them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from threadline.api.app import create_app
from threadline.graphs.configuration import load_configuration
from threadline.graphs.door import open_door
from threadline.graphs.registry import Registry
from threadline.runs.engine import open_engine
from threadline.runs.webhook_policy import WebhookPolicy
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import HEARTBEAT, MAX_BODY, engine_settings, serve_app
from threadline.tests.api.guarded_world import AUTH, client_of, write_project
from threadline.tests.laboratory.places import reach
from threadline.tests.runs.hook_receiver import Receiver, receive_hooks

NOBODYS = "6b2c0f88-cc31-4eb0-81fd-c56efd503c13"
SEEN = {
    "webhook_id",
    "run_id",
    "thread_id",
    "url",
    "status",
    "attempts",
    "error",
    "due_at",
    "created_at",
    "delivered_at",
    "died_at",
    "attempt_log",
}


def make_app(dsn: str, config: Path) -> FastAPI:
    configuration = load_configuration(config)
    settings = replace(engine_settings(), webhooks=WebhookPolicy(allow_loopback=True))
    return create_app(
        lambda: open_engine(reach(dsn, pooled=False), Registry(configuration), settings),
        ApiSettings(heartbeat=HEARTBEAT, max_body_bytes=MAX_BODY),
        open_door(configuration),
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive_hooks() as opened:
        yield opened


@pytest.fixture
def http(dsn: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server without users."""
    with serve_app(make_app(dsn, write_project(tmp_path, rules=None))) as served, client_of(served.url) as client:
        yield client


@pytest.fixture
def users(dsn: str, tmp_path: Path) -> Iterator[dict[str, httpx.Client]]:
    """Clients of Alice and of Bob."""
    app = make_app(dsn, write_project(tmp_path, rules=AUTH))
    with serve_app(app) as served, client_of(served.url, "alice") as alice, client_of(served.url, "bob") as bob:
        yield {"alice": alice, "bob": bob}


def run_with_webhook(client: httpx.Client, url: str) -> Any:
    """Let a run end that has a webhook, on a thread of its own, and return it."""
    thread_id = client.post("/threads", json={}).raise_for_status().json()["thread_id"]
    body = {"assistant_id": "telling", "input": {}, "webhook": url}
    run = client.post(f"/threads/{thread_id}/runs", json=body).raise_for_status().json()
    client.get(f"/threads/{thread_id}/runs/{run['run_id']}/join").raise_for_status()
    return run


def until_listed(client: httpx.Client, **wanted: Any) -> Any:
    """Ask until there is a delivery like this."""
    return until_any(client, "/webhooks/deliveries", **wanted)


def until_any(client: httpx.Client, path: str, **wanted: Any) -> Any:
    deadline = monotonic() + 20
    while not (found := client.get(path, params=wanted).raise_for_status().json()):
        assert monotonic() < deadline, f"nothing at {path} with {wanted}"
    return found


def test_a_delivery_is_listed_with_each_attempt_and_delivered_again(http: httpx.Client, receiver: Receiver) -> None:
    receiver.answers = [410]
    run = run_with_webhook(http, receiver.url)
    (dead,) = until_listed(http, status="dead", run_id=run["run_id"], thread_id=run["thread_id"])
    assert set(dead) == SEEN
    assert (dead["run_id"], dead["url"], dead["attempts"]) == (run["run_id"], receiver.url, 1)
    (attempt,) = dead["attempt_log"]
    assert (attempt["attempt"], attempt["status_code"], attempt["error"]) == (1, 410, "answered 410")
    assert attempt["started_at"] <= attempt["ended_at"]
    assert dead["created_at"] <= dead["died_at"]
    assert attempt["ended_at"].endswith("+00:00")
    path = f"/webhooks/deliveries/{dead['webhook_id']}"
    assert http.get(path).json() == dead
    answer = http.post(f"{path}/redeliver")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    (delivered,) = until_listed(http, status="delivered", run_id=run["run_id"])
    assert [each["status_code"] for each in delivered["attempt_log"]] == [410, 200]


def test_deliveries_come_in_pages_the_newest_first(http: httpx.Client, receiver: Receiver) -> None:
    runs = [run_with_webhook(http, receiver.url)["run_id"] for _ in range(3)]
    for run_id in runs:
        until_listed(http, run_id=run_id, status="delivered")
    first = http.get("/webhooks/deliveries", params={"limit": 2})
    assert [each["run_id"] for each in first.json()] == runs[:0:-1]
    assert first.headers["x-pagination-next"] == "2"
    second = http.get("/webhooks/deliveries", params={"limit": 2, "offset": 2})
    assert [each["run_id"] for each in second.json()] == runs[:1]
    assert "x-pagination-next" not in second.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/webhooks/deliveries?status=lost", 422),
        ("GET", "/webhooks/deliveries?run_id=x", 422),
        ("GET", "/webhooks/deliveries?limit=0", 422),
        ("GET", "/webhooks/deliveries/x", 422),
        ("GET", f"/webhooks/deliveries/{NOBODYS}", 404),
        ("POST", f"/webhooks/deliveries/{NOBODYS}/redeliver", 404),
        ("GET", "/runs/crons/x/fires", 422),
        ("GET", f"/runs/crons/{NOBODYS}/fires", 404),
        ("GET", f"/runs/crons/{NOBODYS}/fires?status=lost", 422),
        ("POST", f"/runs/crons/{NOBODYS}/fires/{NOBODYS}/retry", 404),
        ("POST", f"/runs/crons/{NOBODYS}/fires/x/retry", 422),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_status(url: str, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, url + path)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_a_delivery_that_is_being_tried_is_a_conflict(http: httpx.Client, receiver: Receiver) -> None:
    receiver.gate.clear()
    run = run_with_webhook(http, receiver.url)
    (pending,) = until_listed(http, run_id=run["run_id"])
    while not pending["attempt_log"]:
        (pending,) = until_listed(http, run_id=run["run_id"])
    answer = http.post(f"/webhooks/deliveries/{pending['webhook_id']}/redeliver")
    assert (answer.status_code, "being tried" in answer.json()["detail"]) == (409, True)


def test_what_is_owed_and_what_was_given_up_is_measured(http: httpx.Client, receiver: Receiver) -> None:
    receiver.answers = [410, 500]
    until_listed(http, status="dead", run_id=run_with_webhook(http, receiver.url)["run_id"])
    until_listed(http, status="pending", run_id=run_with_webhook(http, receiver.url)["run_id"])
    told = http.get("/metrics", params={"format": "json"}).json()
    assert told["webhooks"] == {"n_pending": 1, "n_dead": 1}
    assert told["cron_fires"] == {"n_pending": 0, "n_dead": 0}
    text = http.get("/metrics").text
    assert "\nthreadline_webhooks_pending 1.0\n" in text
    assert "\nthreadline_webhooks_dead 1.0\n" in text


def test_nobody_sees_or_repeats_the_deliveries_of_anothers_threads(
    users: dict[str, httpx.Client], receiver: Receiver, dsn: str
) -> None:
    alice, bob = users["alice"], users["bob"]
    run = run_with_webhook(alice, receiver.url)
    (delivery,) = until_listed(alice, run_id=run["run_id"], status="delivered")
    path = f"/webhooks/deliveries/{delivery['webhook_id']}"
    for filters in ({}, {"run_id": run["run_id"]}, {"thread_id": run["thread_id"]}):
        assert bob.get("/webhooks/deliveries", params=filters).json() == []
    assert bob.get(path).status_code == 404
    assert bob.post(f"{path}/redeliver").status_code == 404
    with psycopg.connect(dsn, autocommit=True) as connection:  # as when the thread of a stateless run is swept
        connection.execute("delete from threads where thread_id = %s", [run["thread_id"]])
    assert alice.get(path).json() == delivery
    assert bob.get(path).status_code == 404
    assert bob.get("/webhooks/deliveries").json() == []
    assert len(receiver.bodies) == 1
    assert alice.post(f"{path}/redeliver").status_code == 202


def test_the_moments_of_a_cron_are_listed_for_who_may_read_it(users: dict[str, httpx.Client], dsn: str) -> None:
    alice, bob = users["alice"], users["bob"]
    body = {"assistant_id": "telling", "schedule": "0 0 1 1 *", "input": {}, "on_run_completed": "keep"}
    cron_id = alice.post("/runs/crons", json=body).raise_for_status().json()["cron_id"]
    path = f"/runs/crons/{cron_id}/fires"
    assert alice.get(path).json() == []
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update crons set next_run_date = clock_timestamp()")
    (fire,) = until_any(alice, path, status="fired")
    assert set(fire) == {
        *("fire_id", "cron_id", "scheduled_at", "status", "attempts", "run_id"),
        *("thread_id", "error", "due_at", "created_at", "settled_at"),
    }
    assert fire["scheduled_at"] <= fire["settled_at"]
    assert alice.get(path, params={"status": "dead"}).json() == []
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select thread_id::text from runs where run_id = %s", [fire["run_id"]]).fetchone()
    assert row == (fire["thread_id"],)
    again = f"{path}/{fire['fire_id']}/retry"
    assert bob.get(path).status_code == bob.post(again).status_code == 404
    refused = alice.post(again)
    assert (refused.status_code, "has its run" in refused.json()["detail"]) == (409, True)
    assert alice.post(f"{path}/{uuid4()}/retry").status_code == 404
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update cron_fires set status = 'dead', run_id = null, thread_id = null")
    assert alice.post(again).status_code == 202
    (repeated,) = until_any(alice, path, status="fired")
    assert repeated["run_id"] not in (None, fire["run_id"])
