"""What no client should send, and graphs that nobody should deploy, at the real server, which goes on serving."""

import json
from collections.abc import Iterator
from socket import create_connection
from typing import Any
from uuid import uuid4

import httpx
import pytest

from threadline.tests.process.deployments import Deployment

UNKNOWN = "00000000-0000-4000-8000-000000000000"
MEGABYTE = 1024 * 1024


@pytest.fixture
def http(served: Deployment) -> Iterator[httpx.Client]:
    """A client of the server, which must be as well afterwards as before."""
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client
        body = {"assistant_id": "echoing", "input": {"name": "afterwards"}}
        assert client.post("/runs/wait", json=body).json()["log"] == ["given back"]


def refusal(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    detail: str = answer.json()["detail"]
    return detail


def run_body(**fields: Any) -> dict[str, Any]:
    return {"assistant_id": "echoing", "input": {"name": "bad"}, **fields}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"assistant_id": "echoing", "input": {"name": NaN}}',
        b'{"assistant_id": "echoing", "input": {"name": "raw nul \x00"}}',
        b'{"assistant_id": "echoing", "input": {"name": "raw surrogate \xed\xa0\x80"}}',
        b'{"assistant_id": "echoing", "input": {"name": "half a pair \\ud800"}}',
        b'{"assistant_id": "echoing", "input": {"half a pair \\udfff": 1}}',
        b'{"assistant_id": "echoing", "input": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"\xff\xfe\x00",
    ],
)
def test_a_body_that_is_no_json_is_refused(http: httpx.Client, body: bytes) -> None:
    for path in ("/runs/wait", "/runs/stream", f"/threads/{uuid4()}/runs"):
        answer = http.post(path, content=body, headers={"content-type": "application/json"})
        assert refusal(answer, 422).startswith("Invalid JSON in request body")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"assistant_id": 7}, "assistant_id"),
        ({"assistant_id": None}, "assistant_id"),
        ({"config": "none"}, "config"),
        ({"metadata": ["a"]}, "metadata"),
        ({"stream_mode": "everything"}, "stream_mode"),
        ({"multitask_strategy": "hope"}, "multitask_strategy"),
        ({"durability": 1}, "durability"),
        ({"after_seconds": "soon"}, "after_seconds"),
        ({"command": []}, "command"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(http: httpx.Client, fields: dict[str, Any], named: str) -> None:
    assert named in refusal(http.post("/runs/wait", json=run_body(**fields)), 422)


def test_ids_that_nobody_has_are_not_found(http: httpx.Client) -> None:
    assert UNKNOWN in refusal(http.get(f"/threads/{UNKNOWN}"), 404)
    assert UNKNOWN in refusal(http.get(f"/threads/{UNKNOWN}/runs/{UNKNOWN}"), 404)
    assert UNKNOWN in refusal(http.get(f"/threads/{UNKNOWN}/runs/{UNKNOWN}/stream"), 404)
    assert UNKNOWN in refusal(http.post(f"/threads/{UNKNOWN}/runs", json=run_body()), 404)
    assert UNKNOWN in refusal(http.post("/runs/wait", json=run_body(assistant_id=UNKNOWN)), 404)


def test_a_graph_that_nobody_has_is_refused(http: httpx.Client) -> None:
    assert "nobody" in refusal(http.post("/runs/wait", json=run_body(assistant_id="nobody")), 422)


@pytest.mark.parametrize("path", ["/runs/wait", "/threads"])
def test_ten_megabytes_are_too_much_however_they_are_announced(http: httpx.Client, path: str) -> None:
    body = json.dumps(run_body(input={"name": "x" * 10 * MEGABYTE})).encode()
    told = "larger than 8388608 bytes"
    assert told in refusal(http.post(path, content=body), 413)

    def unannounced() -> Iterator[bytes]:
        for start in range(0, len(body), MEGABYTE):
            yield body[start : start + MEGABYTE]

    assert told in refusal(http.post(path, content=unannounced()), 413)


def test_five_megabytes_are_kept_and_given_back(http: httpx.Client) -> None:
    text = "x" * 5 * MEGABYTE
    answer = http.post("/runs/wait", json=run_body(input={"name": text}))
    assert answer.json()["name"] == text


def test_a_nul_in_a_value_is_kept_and_given_back(http: httpx.Client) -> None:
    thread_id = http.post("/threads", json={}).json()["thread_id"]
    answer = http.post(f"/threads/{thread_id}/runs/wait", json=run_body(input={"name": "a\0b"}))
    assert answer.json()["name"] == "a\0b"
    assert http.get(f"/threads/{thread_id}/state").json()["values"]["name"] == "a\0b"
    assert http.get(f"/threads/{thread_id}").json()["values"]["name"] == "a\0b"


def test_a_nul_where_it_cannot_be_kept_is_refused(http: httpx.Client) -> None:
    assert "metadata" in refusal(http.post("/threads", json={"metadata": {"a": "b\0c"}}), 422)
    assert "metadata" in refusal(http.post("/runs/wait", json=run_body(metadata={"a\0": 1})), 422)


@pytest.mark.parametrize(
    "nonsense",
    [b"\x16\x03\x01 not http\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /runs HTTP/1.1\r\ncontent-length: -5\r\n\r\n"],
)
def test_bytes_that_are_no_request_are_refused(served: Deployment, http: httpx.Client, nonsense: bytes) -> None:
    with create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(nonsense)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_graph_that_cannot_be_imported_says_where_and_leaves_the_others_alone(http: httpx.Client) -> None:
    told = refusal(http.post("/runs/wait", json=run_body(assistant_id="broken")), 422)
    assert told == (
        "Graph 'broken' could not be imported: graphs/broken.py, line 4: "
        "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    )


def test_a_value_that_cannot_be_stored_ends_its_run_with_an_error(http: httpx.Client) -> None:
    thread_id = http.post("/threads", json={}).json()["thread_id"]
    body = run_body(assistant_id="unstorable", input={"name": "unstorable"})
    error = http.post(f"/threads/{thread_id}/runs/wait", json=body).json()["__error__"]
    assert error["error"] == "TypeError"
    assert "object" in error["message"]
    assert http.get(f"/threads/{thread_id}").json()["status"] == "error"
    assert [run["status"] for run in http.get(f"/threads/{thread_id}/runs").json()] == ["error"]
    events = http.post(f"/threads/{thread_id}/runs/stream", json={**body, "stream_mode": "updates"}).text
    assert "event: error" in events
