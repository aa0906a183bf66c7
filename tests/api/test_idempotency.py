"""A request that is sent again under its `Idempotency-Key` makes nothing new, whatever happened in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from socket import socket
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from langgraph_sdk.client import LangGraphClient

from threadline.api.app import create_app
from threadline.checkpoints.pool import open_pool
from threadline.graphs.registry import Registry
from threadline.runs import idempotency
from threadline.runs.engine import open_engine
from threadline.runs.sweep import Sweep
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import Serve, engine_settings
from threadline.tests.api.guarded_world import client_of, serve_project, write_project
from threadline.tests.laboratory.places import reach
from threadline.tests.laboratory.proxy import open_proxy

STEPS = {"assistant_id": "steps", "input": {"n": 1}}
KEPT = STEPS | {"on_completion": "keep"}
YEARLY = {"assistant_id": "steps", "schedule": "0 0 1 1 *", "input": {}}
REPLAYED = "idempotent-replayed"

# What creates, and what there is more of then.
CREATING: list[tuple[str, Any]] = [
    ("/threads", {"metadata": {"a": 1}}),
    ("/threads/{thread_id}/copy", None),
    ("/threads/{thread_id}/runs", STEPS),
    ("/threads/{thread_id}/runs/crons", YEARLY),
    ("/runs", KEPT),
    ("/runs/batch", [KEPT, KEPT | {"input": {"n": 2}}]),
    ("/runs/crons", YEARLY),
    ("/assistants", {"graph_id": "steps", "name": "mine"}),
]
PAST = {
    "metadata": {"graph_id": "steps"},
    "supersteps": [{"updates": [{"values": {"n": 7}, "as_node": "__start__"}]}],
}


def keyed(key: str | None = None) -> dict[str, str]:
    return {"idempotency-key": key or uuid4().hex}


def count_all(dsn: str) -> dict[str, int]:
    with psycopg.connect(dsn) as connection:
        counts = {}
        for table in ("threads", "thread_heads", "runs", "crons", "assistants", "idempotency_keys"):
            row = connection.execute(f"select count(*) from {table}".encode()).fetchone()
            assert row is not None
            counts[table] = row[0]
        return counts


@pytest.fixture
def own(make_app: Callable[[], FastAPI], serve: Serve) -> Iterator[httpx.Client]:
    """A client of a server that has the test's database for itself."""
    with serve(make_app()) as served, httpx.Client(base_url=served.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize(("path", "body"), [*CREATING, ("/threads", PAST)])
def test_what_a_request_made_is_answered_again_to_the_byte(
    http: httpx.Client, thread_id: str, path: str, body: Any
) -> None:
    path, headers = path.format(thread_id=thread_id), keyed()
    first, second = (http.post(path, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.content == first.content
    assert (first.headers.get(REPLAYED), second.headers.get(REPLAYED)) == (None, "true")
    assert second.headers.get("content-location") == first.headers.get("content-location")
    without = http.post(path, json=body)
    assert (without.status_code, without.headers.get(REPLAYED)) == (200, None)
    assert without.content != first.content


@pytest.mark.parametrize("path", ["/runs/wait", "/threads/{thread_id}/runs/wait"])
def test_a_request_that_waits_is_given_the_result_of_the_first_run(
    http: httpx.Client, thread_id: str, path: str
) -> None:
    headers = keyed()
    first, second = (http.post(path.format(thread_id=thread_id), json=STEPS, headers=headers) for _ in range(2))
    assert first.json() == second.json() == {"n": 4, "log": ["plan", "act", "tell"]}
    assert second.headers["location"] == first.headers["location"]
    assert second.headers[REPLAYED] == "true"


@pytest.mark.parametrize("path", ["/runs/stream", "/threads/{thread_id}/runs/stream"])
def test_a_request_that_streams_is_given_the_first_runs_events_from_the_beginning(
    http: httpx.Client, thread_id: str, path: str
) -> None:
    headers, body = keyed(), STEPS | {"stream_mode": ["updates", "values"]}
    first, second = (http.post(path.format(thread_id=thread_id), json=body, headers=headers) for _ in range(2))
    events = [line for line in first.text.splitlines() if line.startswith(("event:", "data:"))]
    assert len(events) > 10
    assert [line for line in second.text.splitlines() if line.startswith(("event:", "data:"))] == events
    assert second.headers[REPLAYED] == "true"


def test_a_run_that_is_still_at_work_is_joined(http: httpx.Client, thread_id: str) -> None:
    path, headers = f"/threads/{thread_id}/runs", keyed()
    body = {"assistant_id": "ticking", "input": {"n": 20}, "stream_mode": "custom"}
    with http.stream("POST", f"{path}/stream", json=body, headers=headers) as first:
        next(line for line in first.iter_lines() if "tick" in line)  # and then the connection is lost
    second = http.post(f"{path}/stream", json=body, headers=headers)
    assert second.headers["location"] == first.headers["location"]
    assert [f'{{"tick":{tick}}}' in second.text for tick in range(20)] == [True] * 20
    assert len(http.get(path).json()) == 1


async def test_the_official_client_sends_the_key_as_a_header(sdk: LangGraphClient, thread_id: str) -> None:
    runs = [await sdk.runs.create(thread_id, "steps", input={"n": 1}, headers=keyed("mine")) for _ in range(3)]
    assert len({run["run_id"] for run in runs}) == 1
    thread, again = [await sdk.threads.create(headers=keyed("of a thread")) for _ in range(2)]
    assert thread == again


async def send_to_all(clients: list[httpx.AsyncClient], path: str, body: Any, times: int) -> list[httpx.Response]:
    """Send one request at once to servers in turn, all under one key."""
    headers = keyed()
    posts = (clients[n % len(clients)].post(path, json=body, headers=headers) for n in range(times))
    return list(await asyncio.gather(*posts))


async def test_of_requests_that_come_at_once_to_two_servers_one_makes(
    make_app: Callable[[], FastAPI], serve: Serve, dsn: str
) -> None:
    async with AsyncExitStack() as stack:
        urls = [stack.enter_context(serve(make_app())).url for _ in range(2)]
        clients = [httpx.AsyncClient(base_url=url, timeout=30, verify=False) for url in urls]
        for client in clients:
            await stack.enter_async_context(client)
        [thread] = await send_to_all(clients, "/threads", {}, 1)
        thread_id = thread.json()["thread_id"]
        for path, body in CREATING:
            before = count_all(dsn)
            answers = await send_to_all(clients, path.format(thread_id=thread_id), body, 8)
            assert {answer.status_code for answer in answers} == {200}, path
            assert len({answer.content for answer in answers}) == 1, path
            assert [answer.headers.get(REPLAYED) for answer in answers].count(None) == 1, path
            made = {table: count - before[table] for table, count in count_all(dsn).items()}
            expected = len(body) if isinstance(body, list) else 1
            assert max(made.values()) == expected, (path, made)
            assert made["idempotency_keys"] == 1


@asynccontextmanager
async def served_beside(serve: Serve, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that is started and stopped while this loop goes on."""
    serving = serve(app)
    served = await asyncio.to_thread(serving.__enter__)
    try:
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
            yield client
    finally:
        await asyncio.to_thread(serving.__exit__, None, None, None)


@contextmanager
def cutting(port: int) -> Iterator[tuple[str, Event]]:
    """A way to the server on `port` that is cut as soon as the answer begins, the first time."""
    listener = socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    has_cut = Event()

    def pass_on() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, socket() as server:
                server.connect(("127.0.0.1", port))
                request = b""
                while not request.endswith(b"}"):
                    request += client.recv(65536)
                server.sendall(request)
                while answer := server.recv(65536):
                    if not has_cut.is_set():
                        break
                    client.sendall(answer)
                has_cut.set()

    thread = Thread(target=pass_on)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", has_cut
    finally:
        listener.shutdown(2)
        listener.close()
        thread.join(10)


def test_a_client_whose_answer_was_cut_off_finds_its_run_by_sending_again(
    make_app: Callable[[], FastAPI], serve: Serve, dsn: str
) -> None:
    headers = keyed() | {"connection": "close"}
    with serve(make_app()) as served, cutting(served.port) as (url, has_cut):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{url}/runs", json=KEPT, headers=headers)
        assert has_cut.is_set()
        again = httpx.post(f"{url}/runs", json=KEPT, headers=headers)
    assert (again.status_code, again.headers[REPLAYED]) == (200, "true")
    assert count_all(dsn)["runs"] == 1


async def test_a_commit_whose_answer_was_lost_is_found_by_sending_again(
    dsn: str, registry: Registry, serve: Serve
) -> None:
    headers = keyed()
    async with open_proxy(dsn) as proxy:
        database = reach(proxy.conninfo, pooled=False)
        app = create_app(lambda: open_engine(database, registry, engine_settings(executes=False)), ApiSettings())
        async with served_beside(serve, app) as http:
            await http.post("/threads", json={})  # which warms everything up
            proxy.lose_answer("COMMIT")
            lost = await http.post("/runs", json=KEPT, headers=headers)
            again = await http.post("/runs", json=KEPT, headers=headers)
    assert proxy.lost == 1
    assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
    assert (again.status_code, again.headers[REPLAYED]) == (200, "true")
    assert count_all(dsn)["runs"] == 1


def test_a_request_whose_twin_hangs_is_told_to_come_back(
    own: httpx.Client, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE", "100ms")
    headers = keyed("hanging")
    taken = "insert into idempotency_keys (caller, idempotency_key, fingerprint) values (sha256(''), 'hanging', '')"
    with psycopg.connect(dsn) as twin:
        twin.execute(taken.encode())
        told = own.post("/runs", json=KEPT, headers=headers)
        assert (told.status_code, told.headers["retry-after"]) == (503, "1")
        twin.rollback()
    served = own.post("/runs", json=KEPT, headers=headers)
    assert (served.status_code, REPLAYED in served.headers) == (200, False)


def test_a_key_outlives_its_server(make_app: Callable[[], FastAPI], serve: Serve) -> None:
    headers = keyed()
    answers = []
    for _ in range(2):
        with serve(make_app()) as served:
            answers.append(httpx.post(f"{served.url}/runs/wait", json=STEPS, headers=headers))
    assert answers[1].json() == answers[0].json() == {"n": 4, "log": ["plan", "act", "tell"]}
    assert answers[1].headers[REPLAYED] == "true"


def test_a_key_stands_for_one_request_only(http: httpx.Client, thread_id: str) -> None:
    path, headers = f"/threads/{thread_id}/runs", keyed("one-request")
    assert http.post(path, json=STEPS, headers=headers).status_code == 200
    others = [(path, STEPS | {"input": {"n": 2}}), (f"{path}/wait", STEPS), ("/runs", STEPS), ("/threads", {})]
    for other, body in others:
        answer = http.post(other, json=body, headers=headers)
        assert answer.status_code == 409, other
        assert answer.json()["detail"].startswith("The Idempotency-Key 'one-request' was sent with another request")
    assert len(http.get(path).json()) == 1


def test_how_the_body_is_written_makes_no_difference(http: httpx.Client) -> None:
    headers, body = keyed(), {"metadata": {"a": 1, "b": "ä"}}
    turned = {"metadata": {"b": "ä", "a": 1}}
    first = http.post("/threads", json=body, headers=headers)
    for text in (json.dumps(turned, indent=2), json.dumps(turned, ensure_ascii=False)):
        again = http.post("/threads", content=text.encode(), headers=headers)
        assert again.json() == first.json()


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "a\tb"])
def test_what_is_no_key_is_refused(http: httpx.Client, key: str) -> None:
    for path, body in (("/threads", {}), ("/runs", STEPS), ("/runs/batch", [STEPS]), ("/assistants", {})):
        answer = http.post(path, json=body, headers={b"idempotency-key": key.encode("latin-1")})
        assert answer.status_code == 422
    assert answer.json()["detail"].startswith(("Idempotency-Key: must be 1 to 255", "graph_id"))


def test_a_key_that_is_sent_twice_is_refused(http: httpx.Client) -> None:
    answer = http.post("/threads", json={}, headers=[("idempotency-key", "a"), ("idempotency-key", "b")])
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "Idempotency-Key: sent 2 times, must be sent once",
    )


@pytest.mark.parametrize("key", ["x" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "with space", "~!'%_"])
def test_what_is_a_key_is_taken(http: httpx.Client, key: str) -> None:
    first, second = (http.post("/threads", json={}, headers=keyed(key)).raise_for_status() for _ in range(2))
    assert first.json() == second.json()


def test_a_refused_request_keeps_no_key(http: httpx.Client) -> None:
    thread_id, headers = str(uuid4()), keyed()
    path = f"/threads/{thread_id}/runs"
    assert http.post(path, json=STEPS, headers=headers).status_code == 404
    assert http.post(path, json=STEPS | {"assistant_id": "nope"}, headers=headers).status_code == 422
    http.post("/threads", json={"thread_id": thread_id}).raise_for_status()
    accepted = http.post(path, json=STEPS, headers=headers)
    assert (accepted.status_code, REPLAYED in accepted.headers) == (200, False)


def test_a_run_refused_beside_another_is_accepted_under_the_same_key_later(http: httpx.Client, thread_id: str) -> None:
    path, headers = f"/threads/{thread_id}/runs", keyed()
    busy = http.post(path, json={"assistant_id": "ticking", "input": {"n": 3000}}).json()
    alone = STEPS | {"multitask_strategy": "reject"}
    assert http.post(path, json=alone, headers=headers).status_code == 409
    http.post(f"{path}/{busy['run_id']}/cancel", params={"wait": True}).raise_for_status()
    assert http.post(f"{path}/wait", json=alone, headers=keyed()).json()["n"] == 4
    assert http.post(path, json=alone, headers=headers).status_code == 200


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_a_run_that_supersedes_does_so_once(http: httpx.Client, thread_id: str, strategy: str) -> None:
    path, headers = f"/threads/{thread_id}/runs", keyed()
    http.post(path, json={"assistant_id": "ticking", "input": {"n": 3000}}).raise_for_status()
    body = STEPS | {"multitask_strategy": strategy}
    values = [http.post(f"{path}/wait", json=body, headers=headers).json() for _ in range(2)]
    assert [each["n"] for each in values] == [4, 4]
    assert len(http.get(path).json()) == (1 if strategy == "rollback" else 2)


def test_a_run_under_a_key_may_create_its_thread_and_be_put_off(own: httpx.Client, dsn: str) -> None:
    path, headers = f"/threads/{uuid4()}/runs", keyed()
    body = STEPS | {"if_not_exists": "create", "after_seconds": 3600}
    runs = [own.post(path, json=body, headers=headers).raise_for_status().json() for _ in range(2)]
    assert runs[0] == runs[1]
    assert own.get(f"{path}/{runs[0]['run_id']}").json()["status"] == "pending"
    assert count_all(dsn)["runs"] == 1


def test_what_is_gone_is_not_made_again(http: httpx.Client, thread_id: str) -> None:
    path = f"/threads/{thread_id}/runs"
    run_key, waiting_key, thread_key, cron_key, assistant_key = (keyed() for _ in range(5))
    run = http.post(path, json=STEPS, headers=run_key).json()
    http.get(f"{path}/{run['run_id']}/join").raise_for_status()
    http.delete(f"{path}/{run['run_id']}").raise_for_status()
    gone = http.post(path, json=STEPS, headers=run_key)
    assert gone.status_code == 410
    assert gone.json()["detail"].startswith(f"Run {run['run_id']}, which this Idempotency-Key made, cannot be found")
    assert http.get(path).json() == []

    http.post(f"{path}/wait", json=STEPS, headers=waiting_key).raise_for_status()
    made = http.post("/threads", json={}, headers=thread_key).json()
    cron = http.post("/runs/crons", json=YEARLY, headers=cron_key).json()
    assistant = http.post("/assistants", json={"graph_id": "steps"}, headers=assistant_key).json()
    for gone_path in (
        *(f"/threads/{thread_id}", f"/threads/{made['thread_id']}"),
        *(f"/runs/crons/{cron['cron_id']}", f"/assistants/{assistant['assistant_id']}"),
    ):
        http.delete(gone_path).raise_for_status()
    assert http.post(f"{path}/wait", json=STEPS, headers=waiting_key).status_code == 410
    assert http.post("/threads", json={}, headers=thread_key).status_code == 410
    assert http.post("/runs/crons", json=YEARLY, headers=cron_key).status_code == 410
    assert http.post("/assistants", json={"graph_id": "steps"}, headers=assistant_key).status_code == 410


def test_a_run_that_was_rolled_back_is_not_made_again(http: httpx.Client, thread_id: str) -> None:
    path, headers = f"/threads/{thread_id}/runs", keyed()
    body = {"assistant_id": "ticking", "input": {"n": 3000}}
    run = http.post(path, json=body, headers=headers).json()
    http.post(f"{path}/{run['run_id']}/cancel", params={"wait": True, "action": "rollback"}).raise_for_status()
    assert http.post(path, json=body, headers=headers).status_code == 410


def test_creating_what_may_exist_keeps_its_meaning_under_a_key(http: httpx.Client) -> None:
    for path, name, more in (("/threads", "thread_id", {}), ("/assistants", "assistant_id", {"graph_id": "steps"})):
        identity, headers = str(uuid4()), keyed()
        body = {name: identity, "if_exists": "do_nothing"} | more
        http.post(path, json=body).raise_for_status()
        for _ in range(2):
            assert http.post(path, json=body, headers=headers).raise_for_status().json()[name] == identity
        assert http.post(path, json=body | {"if_exists": "raise"}, headers=keyed()).status_code == 409


async def sweep(dsn: str) -> None:
    async with open_pool(reach(dsn, pooled=False), "sweep") as pool:
        await Sweep(pool).sweep()


def test_a_key_is_kept_for_a_day(own: httpx.Client, dsn: str) -> None:
    headers = keyed()
    first = own.post("/threads", json={}, headers=headers).json()
    asyncio.run(sweep(dsn))
    assert own.post("/threads", json={}, headers=headers).json() == first
    age = "update idempotency_keys set created_at = clock_timestamp() - interval '24 hours 1 second'"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(age.encode())
        # Nobody has swept it, and yet it stands for nothing any more, also not for another request.
        second = own.post("/threads", json={"metadata": {"a": 1}}, headers=headers)
        assert (second.status_code, REPLAYED in second.headers) == (200, False)
        assert second.json()["thread_id"] != first["thread_id"]
        connection.execute(age.encode())
    asyncio.run(sweep(dsn))
    assert count_all(dsn)["idempotency_keys"] == 0


def test_a_key_is_its_callers_own(server_dsn: str, template_database: str, tmp_path: Path) -> None:
    tell, headers = {"assistant_id": "telling", "input": {}}, keyed("same")
    config = write_project(tmp_path)
    with (
        serve_project(server_dsn, template_database, config) as url,
        client_of(url, "alice") as alice,
        client_of(url, "bob") as bob,
    ):
        found = []
        for client in (alice, bob, alice, bob):
            answer = client.post("/runs/wait", json=tell, headers=headers).raise_for_status()
            found.append((answer.headers["location"], answer.json()["told"]["identity"], REPLAYED in answer.headers))
        assert [who for _, who, _ in found] == ["alice", "bob", "alice", "bob"]
        assert [again for _, _, again in found] == [False, False, True, True]
        assert found[0][0] == found[2][0] != found[1][0] == found[3][0]
        # One thread each: the second request has not made one that no run came to.
        kept = tell | {"on_completion": "keep"}
        for client in (alice, bob):
            assert len({client.post("/runs", json=kept, headers=keyed("kept")).json()["run_id"] for _ in "ab"}) == 1
            assert client.post("/threads/count", json={}).json() == 1
            assert len({client.post("/threads", json={}, headers=keyed("new")).text for _ in "ab"}) == 1
            assert client.post("/threads/count", json={}).json() == 2
        thread_id = alice.post("/threads", json={}).json()["thread_id"]
        assert bob.post(f"/threads/{thread_id}/runs", json=tell, headers=keyed()).status_code == 404


def test_the_document_tells_of_the_key_where_it_is_taken(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    takes = {
        path
        for path, methods in paths.items()
        for operation in methods.values()
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
    }
    assert takes == {path for path, _ in CREATING} | {
        *("/runs/wait", "/runs/stream", "/threads/{thread_id}/runs/wait", "/threads/{thread_id}/runs/stream")
    }
    assert "Idempotent-Replayed" in paths["/runs"]["post"]["responses"]["200"]["headers"]


def test_a_page_of_another_origin_may_send_a_key_and_read_the_mark(http: httpx.Client) -> None:
    asked = {
        "origin": "https://studio.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,idempotency-key",
    }
    preflight = http.options("/runs", headers=asked)
    assert preflight.status_code == 200
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]
    answer = http.get("/ok", headers={"origin": "https://studio.example"})
    assert REPLAYED in answer.headers["access-control-expose-headers"]
