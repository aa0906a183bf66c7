"""Owns the proof that no route answers a stranger, or shows one user what is another's. It goes by the document.

A route that somebody adds is tested here without being named, unless it finds resources by its body.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from threadline.api.rules import OPEN_PATHS
from threadline.tests.api.conftest import serve_app
from threadline.tests.api.guarded_world import client_of, make_guarded_app, serve_project, write_project

# Routes without an id in their path, or one that no request of this test can make. Each is tested by name: here, in
# test_access, test_agent_access or test_webhook_routes.
COLLECTIONS = {
    ("post", "/threads"),
    ("post", "/threads/search"),
    ("post", "/threads/count"),
    ("post", "/threads/prune"),
    ("post", "/assistants"),
    ("post", "/assistants/search"),
    ("post", "/assistants/count"),
    ("post", "/runs"),
    ("post", "/runs/wait"),
    ("post", "/runs/stream"),
    ("post", "/runs/batch"),
    ("post", "/runs/cancel"),
    ("post", "/runs/crons"),
    ("post", "/runs/crons/search"),
    ("post", "/runs/crons/count"),
    ("get", "/webhooks/deliveries"),
    ("get", "/webhooks/deliveries/{webhook_id}"),
    ("post", "/webhooks/deliveries/{webhook_id}/redeliver"),
    ("put", "/store/items"),
    ("get", "/store/items"),
    ("delete", "/store/items"),
    ("post", "/store/items/search"),
    ("post", "/store/namespaces"),
    ("post", "/mcp"),
    ("get", "/.well-known/agent-card.json"),
    ("get", "/metrics"),
}
# The system's assistants, which are in these paths, are everybody's: test_agent_access.
AGENTS = "/a2a/"
OPEN = OPEN_PATHS
IDS = ("{thread_id}", "{assistant_id}", "{cron_id}")


@pytest.fixture(scope="module")
def url(server_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = write_project(tmp_path_factory.mktemp("guarded"))
    with serve_project(server_dsn, template_database, config) as served:
        yield served


@pytest.fixture(scope="module")
def operations(url: str) -> list[tuple[str, str]]:
    """Every method and path of the document."""
    with client_of(url, "alice") as alice:
        document = alice.get("/openapi.json").raise_for_status().json()
    return [(method, path) for path, methods in document["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def alices(url: str) -> dict[str, str]:
    """The ids of what is Alice's."""
    with client_of(url, "alice") as alice:
        thread = alice.post("/threads", json={}).raise_for_status().json()["thread_id"]
        run = alice.post(f"/threads/{thread}/runs", json={"assistant_id": "telling", "input": {}}).raise_for_status()
        alice.get(f"/threads/{thread}/runs/{run.json()['run_id']}/join").raise_for_status()
        checkpoint = alice.get(f"/threads/{thread}/state").raise_for_status().json()["checkpoint"]["checkpoint_id"]
        cron = alice.post("/runs/crons", json={"assistant_id": "telling", "schedule": "0 0 1 1 *", "input": {}})
        cron_id = cron.raise_for_status().json()["cron_id"]
        return {"cron_id": cron_id, "thread_id": thread, "run_id": run.json()["run_id"], "checkpoint_id": checkpoint}


def filled(path: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{assistant_id}", "telling").replace("{namespace}", "x")


def send(client: httpx.Client, method: str, path: str, body: Any = None) -> httpx.Response:
    """Send and read no more than the head: some answers never end."""
    content = json.dumps({} if body is None else body).encode() if method in ("post", "put", "patch") else None
    with client.stream(method, path, content=content) as response:
        if response.status_code != 200:
            response.read()
        return response


def test_no_route_answers_a_stranger(url: str, operations: list[tuple[str, str]], alices: dict[str, str]) -> None:
    assert len(operations) > 20
    with client_of(url) as stranger:
        for method, path in operations:
            if path in OPEN:
                continue
            response = send(stranger, method, filled(path, alices))
            assert response.status_code == 401, f"{method} {path} answered {response.status_code}"
            assert response.json() == {"detail": "no such token"}
            assert response.headers["x-why"] == "token"


def test_no_route_shows_or_changes_what_is_anothers(
    url: str, operations: list[tuple[str, str]], alices: dict[str, str]
) -> None:
    with client_of(url, "bob") as bob, client_of(url, "alice") as alice:
        for method, path in operations:
            if path.startswith(AGENTS) or not any(name in path for name in IDS):
                continue
            response = send(bob, method, filled(path, alices))
            assert response.status_code in (403, 404), f"{method} {path} answered {response.status_code}"
        thread = alice.get(f"/threads/{alices['thread_id']}").raise_for_status().json()
        assert thread["metadata"]["owner"] == "alice"
        assert thread["values"]["told"]["identity"] == "alice"


def test_every_route_without_an_id_is_tested_by_name(operations: list[tuple[str, str]]) -> None:
    without = {(method, path) for method, path in operations if not any(name in path for name in IDS)}
    new = without - COLLECTIONS - {("get", path) for path in OPEN}
    assert not new, "say in api/rules.py how the route asks, test it in test_access, and name it here"


def test_a_route_that_is_not_listed_is_closed(dsn: str, tmp_path: Path) -> None:
    app = make_guarded_app(dsn, write_project(tmp_path))

    @app.get("/of-somebody-who-did-not-think-of-it")
    async def show() -> str:
        return "everything"

    with serve_app(app) as served, client_of(served.url, "alice") as alice, client_of(served.url) as stranger:
        response = alice.get("/of-somebody-who-did-not-think-of-it")
        assert (response.status_code, response.json()) == (403, {"detail": "Forbidden"})
        assert stranger.get("/of-somebody-who-did-not-think-of-it").status_code == 401


def test_a_socket_is_no_way_around_the_guard(url: str, alices: dict[str, str]) -> None:
    address = f"{url.replace('http', 'ws')}/threads/{alices['thread_id']}/stream/events"
    for headers, status in ({}, 401), ({"authorization": "Bearer bob"}, 404):
        with pytest.raises(InvalidStatus) as refusal, connect(address, additional_headers=headers):
            pass
        assert refusal.value.response.status_code == status
    with connect(address, additional_headers={"authorization": "Bearer alice"}) as socket:
        socket.send(json.dumps({"id": 1, "method": "state.get", "params": {}}))
        answer = json.loads(socket.recv())
    assert answer["result"]["values"]["told"]["identity"] == "alice"


def test_a_path_that_nobody_has_stays_unknown(url: str) -> None:
    with client_of(url, "alice") as alice, client_of(url) as stranger:
        assert alice.get("/nowhere").json() == stranger.get("/nowhere").json() == {"detail": "Not Found"}


def test_a_disguised_path_is_refused_all_the_same(url: str, alices: dict[str, str]) -> None:
    thread = alices["thread_id"]
    disguises = (thread.upper(), thread.replace("-", ""), f"{{{thread}}}", f"urn:uuid:{thread}")
    with client_of(url, "bob") as bob:
        for disguise in disguises:
            assert bob.get(f"/threads/{disguise}").status_code in (404, 422), disguise
            assert bob.get(f"/threads/{disguise}/state").status_code in (404, 422), disguise
        for path in (f"//threads/{thread}", f"/threads/{thread}/", f"/threads//{thread}", f"/./threads/{thread}"):
            assert bob.get(path).status_code in (403, 404, 422), path


def test_whether_the_server_lives_is_told_to_everybody(url: str) -> None:
    with client_of(url) as stranger:
        assert stranger.get("/ok").json()["ok"] is True
        assert stranger.get("/info").status_code == 200
