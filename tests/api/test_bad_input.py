"""What every route makes of input it cannot serve: a status, and a text that says what is wrong."""

import json
from typing import Any

import httpx
import pytest

UNKNOWN = "00000000-0000-7000-8000-000000000000"
RUN = {"assistant_id": "steps", "input": {}}

# Every route with a body: method, path, a body that would do.
BODIES = [
    ("POST", "/threads", {}),
    ("POST", "/threads/search", {}),
    ("POST", "/threads/count", {}),
    ("PATCH", "/threads/{thread}", {}),
    ("POST", "/threads/{thread}/state", {"values": {}}),
    ("POST", "/threads/{thread}/state/checkpoint", {"checkpoint": UNKNOWN}),
    ("POST", "/threads/{thread}/history", {}),
    ("POST", "/threads/{thread}/runs", RUN),
    ("POST", "/threads/{thread}/runs/stream", RUN),
    ("POST", "/threads/{thread}/runs/wait", RUN),
    ("POST", "/runs", RUN),
    ("POST", "/runs/stream", RUN),
    ("POST", "/runs/wait", RUN),
    ("POST", "/assistants/search", {}),
]
# Every other route on a thread or a run.
NO_BODIES = [
    ("GET", "/threads/{thread}"),
    ("DELETE", "/threads/{thread}"),
    ("GET", "/threads/{thread}/state"),
    ("GET", "/threads/{thread}/state/" + UNKNOWN),
    ("GET", "/threads/{thread}/history"),
    ("GET", "/threads/{thread}/runs"),
    ("GET", "/threads/{thread}/runs/{run}"),
    ("DELETE", "/threads/{thread}/runs/{run}"),
    ("GET", "/threads/{thread}/runs/{run}/join"),
    ("GET", "/threads/{thread}/runs/{run}/stream"),
    ("POST", "/threads/{thread}/runs/{run}/cancel"),
]
WITH_METADATA = [case for case in BODIES if "/state" not in case[1]]
ON_THREADS = [(method, path, body) for method, path, body in BODIES if "{thread}" in path] + [
    (method, path, None) for method, path in NO_BODIES
]
ON_RUNS = [(method, path) for method, path in NO_BODIES if "{run}" in path]


def named(case: tuple[Any, ...]) -> str:
    return f"{case[0]} {case[1]}"


def detail(answer: httpx.Response, status: int) -> str:
    """The text of an error, which must be all there is in it."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["detail"]
    assert isinstance(body["detail"], str)
    return str(body["detail"])


@pytest.mark.parametrize("text", ["", "{", '{"a":', "\ufeff{}"], ids=["empty", "brace", "half", "bom"])
@pytest.mark.parametrize("case", BODIES, ids=named)
def test_malformed_json_is_refused(http: httpx.Client, thread_id: str, case: tuple[str, str, Any], text: str) -> None:
    method, path, _ = case
    answer = http.request(method, path.format(thread=thread_id), content=text.encode())
    assert detail(answer, 422) == "Invalid JSON in request body"


@pytest.mark.parametrize("text", ["[]", "7", '"text"', "null", "true"])
@pytest.mark.parametrize("case", BODIES, ids=named)
def test_json_of_another_type_is_refused(
    http: httpx.Client, thread_id: str, case: tuple[str, str, Any], text: str
) -> None:
    method, path, _ = case
    answer = http.request(method, path.format(thread=thread_id), content=text.encode())
    assert detail(answer, 422).startswith("body: must be an object, got ")


@pytest.mark.parametrize("case", BODIES, ids=named)
def test_an_oversized_body_is_refused(http: httpx.Client, thread_id: str, case: tuple[str, str, Any]) -> None:
    method, path, body = case
    text = json.dumps({**body, "padding": "x" * 10_000_000})
    answer = http.request(method, path.format(thread=thread_id), content=text.encode())
    assert "larger than 100000 bytes" in detail(answer, 413)


@pytest.mark.parametrize("case", ON_THREADS, ids=named)
def test_a_thread_id_of_the_wrong_form_is_refused(http: httpx.Client, case: tuple[str, str, Any]) -> None:
    method, path, body = case
    answer = http.request(method, path.format(thread="not-a-uuid", run=UNKNOWN), json=body)
    assert detail(answer, 422) == "Invalid thread ID: must be a UUID"


@pytest.mark.parametrize("case", ON_RUNS, ids=named)
def test_a_run_id_of_the_wrong_form_is_refused(http: httpx.Client, thread_id: str, case: tuple[str, str]) -> None:
    method, path = case
    answer = http.request(method, path.format(thread=thread_id, run="%00"))
    assert detail(answer, 422) == "Invalid run ID: must be a UUID"


@pytest.mark.parametrize("case", ON_THREADS, ids=named)
def test_an_unknown_thread_is_not_found(http: httpx.Client, case: tuple[str, str, Any]) -> None:
    method, path, body = case
    answer = http.request(method, path.format(thread=UNKNOWN, run=UNKNOWN), json=body)
    assert "found" in detail(answer, 404)


@pytest.mark.parametrize("case", ON_RUNS, ids=named)
def test_an_unknown_run_is_not_found(http: httpx.Client, thread_id: str, case: tuple[str, str]) -> None:
    method, path = case
    answer = http.request(method, path.format(thread=thread_id, run=UNKNOWN))
    assert "found" in detail(answer, 404)


@pytest.mark.parametrize("case", ON_RUNS, ids=named)
def test_a_run_is_not_found_on_another_thread(http: httpx.Client, thread_id: str, case: tuple[str, str]) -> None:
    method, path = case
    other = http.post("/threads", json={}).json()["thread_id"]
    run = http.post(f"/threads/{other}/runs", json=RUN).json()["run_id"]
    answer = http.request(method, path.format(thread=thread_id, run=run))
    assert "found" in detail(answer, 404)


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud800\\u0041"])
@pytest.mark.parametrize("case", BODIES, ids=named)
def test_half_a_surrogate_pair_is_refused(
    http: httpx.Client, thread_id: str, case: tuple[str, str, Any], escape: str
) -> None:
    method, path, body = case
    text = json.dumps({**body, "input": {"text": "HERE"}, "metadata": {"a": "HERE"}}).replace("HERE", escape)
    answer = http.request(method, path.format(thread=thread_id), content=text.encode())
    assert "half of a surrogate pair" in detail(answer, 422)


@pytest.mark.parametrize(
    "case",
    [case for case in BODIES if not case[1].endswith("/checkpoint") and not case[1].endswith("/state")],
    ids=named,
)
def test_nul_in_metadata_is_refused_and_its_key_named(
    http: httpx.Client, thread_id: str, case: tuple[str, str, Any]
) -> None:
    method, path, body = case
    answer = http.request(method, path.format(thread=thread_id), json={**body, "metadata": {"inner": {"key": "a\0b"}}})
    assert detail(answer, 422).startswith("metadata.inner.key holds U+0000")


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/state", {"values": {}, "checkpoint_id": "a\0b"}, "U+0000"),
        ("/state/checkpoint", {"checkpoint": {"checkpoint_id": "a\0b"}}, "U+0000"),
        ("/history", {"before": "a\0b"}, "U+0000"),
        ("/runs", {**RUN, "checkpoint_id": "a\0b"}, "U+0000"),
        ("/runs", {**RUN, "checkpoint": {"checkpoint_id": 7}}, "checkpoint.checkpoint_id must be of type str"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(
    http: httpx.Client, thread_id: str, path: str, body: dict[str, Any], told: str
) -> None:
    assert told in detail(http.post(f"/threads/{thread_id}{path}", json=body), 422)


def test_nul_in_a_name_to_search_for_is_refused(http: httpx.Client) -> None:
    answer = http.post("/assistants/search", json={"name": "a\0b"})
    assert detail(answer, 422) == "name: must not hold U+0000, got 'a\\x00b'"


def test_a_checkpoint_that_does_not_exist_is_not_found(http: httpx.Client, thread_id: str) -> None:
    assert UNKNOWN in detail(http.get(f"/threads/{thread_id}/state/{UNKNOWN}"), 404)


@pytest.mark.parametrize(
    ("path", "params", "told"),
    [
        ("/runs", {"limit": "x"}, "limit: Input should be a valid integer"),
        ("/runs", {"limit": 0}, "limit: Input should be greater than or equal to 1, got '0'"),
        ("/runs", {"limit": 1001}, "limit: Input should be less than or equal to 1000, got '1001'"),
        ("/runs", {"offset": -1}, "offset: Input should be greater than or equal to 0"),
        ("/runs", {"offset": 10**30}, "offset: Input should be less than or equal to"),
        ("/runs", {"status": "odd"}, "status: Input should be 'pending', 'running'"),
        ("/runs", {"select": "secrets"}, "select.0: Input should be 'run_id'"),
        ("/history", {"limit": "x"}, "limit: Input should be a valid integer"),
        ("/state", {"subgraphs": "maybe"}, "subgraphs: Input should be a valid boolean"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    http: httpx.Client, thread_id: str, path: str, params: dict[str, Any], told: str
) -> None:
    assert detail(http.get(f"/threads/{thread_id}{path}", params=params), 422).startswith(told)


@pytest.mark.parametrize(
    ("method", "route", "params", "told"),
    [
        ("POST", "cancel", {"action": "zzz"}, "action: Input should be 'interrupt' or 'rollback', got 'zzz'"),
        ("POST", "cancel", {"wait": "perhaps"}, "wait: Input should be a valid boolean"),
        ("GET", "stream", {"cancel_on_disconnect": "perhaps"}, "cancel_on_disconnect: Input should be a valid"),
    ],
)
def test_a_runs_query_that_makes_no_sense_is_refused(
    http: httpx.Client, thread_id: str, method: str, route: str, params: dict[str, Any], told: str
) -> None:
    run = http.post(f"/threads/{thread_id}/runs", json=RUN).json()["run_id"]
    answer = http.request(method, f"/threads/{thread_id}/runs/{run}/{route}", params=params)
    assert detail(answer, 422).startswith(told)


def test_a_cursor_that_no_event_has_is_refused(http: httpx.Client, thread_id: str) -> None:
    run = http.post(f"/threads/{thread_id}/runs", json=RUN).json()["run_id"]
    answer = http.get(f"/threads/{thread_id}/runs/{run}/stream", headers={"last-event-id": "yesterday"})
    assert detail(answer, 422).startswith("Invalid Last-Event-ID 'yesterday'")


@pytest.mark.parametrize("path", ["/runs", "/runs/wait", "/runs/stream", "/threads/{thread}/runs"])
def test_configurable_and_context_together_are_refused(http: httpx.Client, thread_id: str, path: str) -> None:
    body = {**RUN, "config": {"configurable": {"a": 1}}, "context": {"b": 2}}
    answer = http.post(path.format(thread=thread_id), json=body)
    assert detail(answer, 400).startswith("Cannot specify both configurable and context")


@pytest.mark.parametrize("path", ["/threads/{thread}/runs/stream", "/threads/{thread}/runs/wait"])
def test_a_busy_thread_answers_in_json_even_where_a_stream_was_asked_for(
    http: httpx.Client, thread_id: str, path: str
) -> None:
    run = http.post(f"/threads/{thread_id}/runs", json={**RUN, "after_seconds": 3600}).json()["run_id"]
    answer = http.post(path.format(thread=thread_id), json={**RUN, "multitask_strategy": "reject"})
    assert detail(answer, 409) == (
        "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."
    )
    http.post(f"/threads/{thread_id}/runs/{run}/cancel")


@pytest.mark.parametrize("assistant", ["nope", "a\0b", "\u2028", "../etc/passwd", "x" * 5000])
def test_an_unknown_graph_is_refused(http: httpx.Client, assistant: str) -> None:
    answer = http.post("/runs/wait", json={"assistant_id": assistant, "input": {}})
    assert detail(answer, 422).startswith("Invalid assistant: ")


def test_a_graph_that_cannot_be_imported_says_why(http: httpx.Client) -> None:
    answer = http.post("/runs/wait", json={"assistant_id": "broken", "input": {}})
    assert "served_graphs.py" in detail(answer, 422)


def test_an_assistant_that_does_not_exist_is_not_found(http: httpx.Client) -> None:
    assert UNKNOWN in detail(http.post("/runs/wait", json={"assistant_id": UNKNOWN}), 404)
    assert UNKNOWN in detail(http.get(f"/assistants/{UNKNOWN}"), 404)
    assert "nope" in detail(http.post("/assistants/search", json={"graph_id": "nope"}), 404)


def test_a_path_or_a_method_that_does_not_exist_is_told(http: httpx.Client) -> None:
    assert detail(http.get("/nowhere"), 404) == "Not Found"
    assert detail(http.get("/threads/"), 404) == "Not Found"
    answer = http.put("/threads", json={})
    assert detail(answer, 405) == "Method Not Allowed"
    assert answer.headers["allow"] == "POST"
