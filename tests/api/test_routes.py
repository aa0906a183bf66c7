"""What every route answers when all is well, beyond what the official client looks at."""

import re
from uuid import UUID, uuid4

import httpx
import pytest

from threadline.api import waiting

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
THREAD_FIELDS = {
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "status",
    "config",
    "values",
    "interrupts",
    "error",
}
RUN_FIELDS = {
    "run_id",
    "thread_id",
    "assistant_id",
    "metadata",
    "status",
    "kwargs",
    "multitask_strategy",
    "created_at",
    "updated_at",
    "langsmith_session_name",
}
STATE_FIELDS = {
    "values",
    "next",
    "tasks",
    "metadata",
    "created_at",
    "checkpoint",
    "parent_checkpoint",
    "interrupts",
    "checkpoint_id",
    "parent_checkpoint_id",
}
STEPS = {"assistant_id": "steps", "input": {"n": 1}}


def test_a_fresh_thread_has_all_its_fields(http: httpx.Client) -> None:
    thread = http.post("/threads", json={"metadata": {"a": 1}}).json()
    assert set(thread) == THREAD_FIELDS
    assert UUID(thread["thread_id"]).version == 7
    assert (thread["status"], thread["values"], thread["metadata"]) == ("idle", None, {"a": 1})
    assert all(TIMESTAMP.fullmatch(thread[name]) for name in ("created_at", "updated_at", "state_updated_at"))
    assert http.get(f"/threads/{thread['thread_id']}").json() == thread


def test_a_thread_remembers_its_last_run(http: httpx.Client, thread_id: str) -> None:
    http.post(f"/threads/{thread_id}/runs/wait", json=STEPS)
    thread = http.get(f"/threads/{thread_id}").json()
    assert thread["values"] == {"n": 4, "log": ["plan", "act", "tell"]}
    assert thread["metadata"]["graph_id"] == "steps"
    http.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": "failing", "input": {}})
    failed = http.get(f"/threads/{thread_id}").json()
    assert (failed["status"], failed["error"]) == ("error", {"error": "ValueError", "message": "kaboom"})


def test_metadata_is_merged_and_a_minimal_answer_is_empty(http: httpx.Client, thread_id: str) -> None:
    http.patch(f"/threads/{thread_id}", json={"metadata": {"a": 1}})
    answer = http.patch(f"/threads/{thread_id}", json={"metadata": {"b": 2}}, headers={"prefer": "return=minimal"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert http.get(f"/threads/{thread_id}").json()["metadata"] == {"a": 1, "b": 2}


def test_a_search_is_paged_by_headers(http: httpx.Client) -> None:
    mark = {"mark": str(uuid4())}
    made = [http.post("/threads", json={"metadata": mark}).json()["thread_id"] for _ in range(5)]
    pages = [
        http.post("/threads/search", json={"metadata": mark, "limit": 2, "offset": offset}) for offset in (0, 2, 4)
    ]
    assert [each["thread_id"] for page in pages for each in page.json()] == made[::-1]
    assert [page.headers["x-pagination-total"] for page in pages] == ["3", "5", "5"]
    assert [page.headers.get("x-pagination-next") for page in pages] == ["2", "4", None]
    assert http.post("/threads/count", json={"metadata": mark}).json() == 5


def test_a_search_finds_by_values_status_and_ids(http: httpx.Client, thread_id: str) -> None:
    mark = uuid4().int % 10**9
    http.post(f"/threads/{thread_id}/runs/wait", json={**STEPS, "input": {"n": mark}})
    for body in ({"values": {"n": mark + 3}}, {"ids": [thread_id]}, {"ids": [thread_id], "status": "idle"}):
        found = http.post("/threads/search", json=body).json()
        assert [each["thread_id"] for each in found] == [thread_id]
    assert http.post("/threads/search", json={"ids": [thread_id], "status": "busy"}).json() == []


def test_a_search_shows_only_what_is_selected(http: httpx.Client, thread_id: str) -> None:
    found = http.post("/threads/search", json={"ids": [thread_id], "select": ["thread_id", "status"]}).json()
    assert found == [{"thread_id": thread_id, "status": "idle"}]


def test_a_run_has_all_its_fields(http: httpx.Client, thread_id: str) -> None:
    answer = http.post(f"/threads/{thread_id}/runs", json={**STEPS, "metadata": {"a": 1}})
    run = answer.json()
    assert set(run) == RUN_FIELDS
    assert UUID(run["run_id"]).version == 7
    assert answer.headers["content-location"] == f"/threads/{thread_id}/runs/{run['run_id']}"
    assert "location" not in answer.headers
    assert run["kwargs"]["input"] == {"n": 1}
    assert run["metadata"].items() >= {"a": 1, "graph_id": "steps", "created_by": "system"}.items()
    assert TIMESTAMP.fullmatch(run["created_at"])
    http.get(f"/threads/{thread_id}/runs/{run['run_id']}/join")
    final = http.get(f"/threads/{thread_id}/runs/{run['run_id']}").json()
    assert set(final) == RUN_FIELDS
    assert final["status"] == "success"


def test_runs_are_listed_newest_first_and_paged(http: httpx.Client, thread_id: str) -> None:
    runs = [http.post(f"/threads/{thread_id}/runs", json=STEPS).json()["run_id"] for _ in range(3)]
    listed = http.get(f"/threads/{thread_id}/runs", params={"limit": 2, "select": "run_id"}).json()
    assert listed == [{"run_id": run_id} for run_id in runs[:0:-1]]
    rest = http.get(f"/threads/{thread_id}/runs", params={"offset": 2}).json()
    assert [run["run_id"] for run in rest] == runs[:1]


def test_a_run_without_a_thread_is_told_without_it(http: httpx.Client) -> None:
    answer = http.post("/runs", json=STEPS)
    run = answer.json()
    assert answer.headers["content-location"] == f"/runs/{run['run_id']}"
    assert http.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/join").json()["n"] == 4
    waited = http.post("/runs/wait", json=STEPS)
    assert re.fullmatch(r"/threads/[0-9a-f-]+/runs/[0-9a-f-]+", waited.headers["content-location"])
    assert waited.headers["location"] == f"{waited.headers['content-location']}/join"


@pytest.mark.parametrize(("on_completion", "is_found"), [("delete", False), ("keep", True)])
def test_the_thread_of_a_stateless_run_is_hidden_unless_kept(
    http: httpx.Client, on_completion: str, is_found: bool
) -> None:
    mark = uuid4().int % 10**9
    http.post("/runs/wait", json={**STEPS, "input": {"n": mark}, "on_completion": on_completion})
    found = http.post("/threads/search", json={"values": {"n": mark + 3}}).json()
    assert bool(found) is is_found


def test_cancelling_answers_202_or_waits(http: httpx.Client, thread_id: str) -> None:
    slow = {"assistant_id": "ticking", "input": {"n": 1000}}
    first = http.post(f"/threads/{thread_id}/runs", json=slow).json()
    second = http.post(f"/threads/{thread_id}/runs", json=slow).json()
    path = f"/threads/{thread_id}/runs"
    asked = http.post(f"{path}/{second['run_id']}/cancel")
    assert (asked.status_code, asked.content) == (202, b"")
    waited = http.post(f"{path}/{first['run_id']}/cancel", params={"wait": "true"})
    assert (waited.status_code, waited.json()) == (200, {})
    assert waited.headers["location"] == f"{path}/{first['run_id']}/join"
    assert [run["status"] for run in http.get(path).json()] == ["interrupted", "interrupted"]


@pytest.mark.parametrize("wait", [0, 1])
def test_what_cannot_be_cancelled_is_told_apart(http: httpx.Client, thread_id: str, wait: int) -> None:
    unknown = http.post(f"/threads/{thread_id}/runs/{uuid4()}/cancel", params={"wait": wait})
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "No runs found to cancel."})
    http.post(f"/threads/{thread_id}/runs/wait", json=STEPS)
    [run] = http.get(f"/threads/{thread_id}/runs").json()
    final = http.post(f"/threads/{thread_id}/runs/{run['run_id']}/cancel", params={"wait": wait})
    assert final.status_code == 404
    assert final.json()["detail"].startswith("No matching runs to cancel.")


def test_a_running_run_is_stopped_when_it_is_deleted(http: httpx.Client, thread_id: str) -> None:
    run = http.post(f"/threads/{thread_id}/runs", json={"assistant_id": "ticking", "input": {"n": 1000}}).json()
    assert http.delete(f"/threads/{thread_id}/runs/{run['run_id']}").status_code == 204
    assert http.get(f"/threads/{thread_id}/runs/{run['run_id']}").status_code == 404
    assert http.get(f"/threads/{thread_id}").json()["status"] != "busy"


@pytest.mark.parametrize("route", ["state", "history"])
def test_a_thread_that_never_ran_has_an_empty_past(http: httpx.Client, thread_id: str, route: str) -> None:
    answer = http.get(f"/threads/{thread_id}/{route}").json()
    if route == "history":
        assert answer == []
    else:
        assert (answer["values"], answer["next"], answer["checkpoint"]) == ({}, [], None)


def test_states_have_all_their_fields(http: httpx.Client, thread_id: str) -> None:
    http.post(f"/threads/{thread_id}/runs/wait", json=STEPS)
    state = http.get(f"/threads/{thread_id}/state").json()
    assert set(state) == STATE_FIELDS
    by_id = http.get(f"/threads/{thread_id}/state/{state['checkpoint_id']}").json()
    by_body = http.post(f"/threads/{thread_id}/state/checkpoint", json={"checkpoint": state["checkpoint"]}).json()
    assert by_id == by_body == state
    past = http.get(f"/threads/{thread_id}/history", params={"limit": 3}).json()
    assert past[0] == state
    assert len(past) == 3
    assert len(http.post(f"/threads/{thread_id}/history", json={}).json()) == 1
    before = {"configurable": {"checkpoint_id": past[1]["checkpoint_id"]}}
    assert http.post(f"/threads/{thread_id}/history", json={"before": before}).json() == past[2:]


def test_an_update_answers_with_its_checkpoint(http: httpx.Client, thread_id: str) -> None:
    http.post(f"/threads/{thread_id}/runs/wait", json=STEPS)
    written = http.post(f"/threads/{thread_id}/state", json={"values": {"n": 50}, "as_node": "act"}).json()
    assert set(written) == {"checkpoint", "configurable", "checkpoint_id"}
    state = http.get(f"/threads/{thread_id}/state").json()
    assert state["checkpoint_id"] == written["checkpoint_id"] == written["checkpoint"]["checkpoint_id"]
    assert (state["values"]["n"], state["next"]) == (50, ["tell"])


def test_nul_in_an_input_comes_back_as_it_went(http: httpx.Client, thread_id: str) -> None:
    body = {"assistant_id": "steps", "input": {"n": 1, "text": "a\0b"}}
    assert http.post(f"/threads/{thread_id}/runs/wait", json=body).json()["text"] == "a\0b"
    assert http.get(f"/threads/{thread_id}").json()["values"]["text"] == "a\0b"
    assert http.get(f"/threads/{thread_id}/state").json()["values"]["text"] == "a\0b"
    assert http.get(f"/threads/{thread_id}/runs").json()[0]["kwargs"]["input"]["text"] == "a\0b"


def test_every_graph_has_an_assistant(http: httpx.Client) -> None:
    system = {"metadata": {"created_by": "system"}}
    answer = http.post("/assistants/search", json={"limit": 3, "sort_by": "name", "sort_order": "asc"} | system)
    assert [each["name"] for each in answer.json()] == ["asking", "configured", "failing"]
    assert (answer.headers["x-pagination-total"], answer.headers["x-pagination-next"]) == ("4", "3")
    by_name = http.get("/assistants/steps").json()
    assert by_name["metadata"]["created_by"] == "system"  # other tests of this server may have added to it
    assert http.get(f"/assistants/{by_name['assistant_id']}").json() == by_name
    selected = http.post("/assistants/search", json={"graph_id": "steps", "select": ["graph_id"]} | system).json()
    assert selected == [{"graph_id": "steps"}]


@pytest.mark.parametrize("path", ["/ok", "/", "/ok?check_db=1"])
def test_the_server_says_that_it_lives(http: httpx.Client, path: str) -> None:
    assert http.get(path).json() == {"ok": True, "services": {}}


def test_the_server_says_what_it_can_do(http: httpx.Client) -> None:
    info = http.get("/info").json()
    assert set(info) == {"version", "langgraph_py_version", "flags"}
    assert info["flags"] == {"assistants": True, "crons": False, "langsmith": False}


def test_the_page_of_the_document_loads_nothing_from_elsewhere(http: httpx.Client) -> None:
    """A browser beside a server without a network shows it, too."""
    page = http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r"(?:src|href|url)\s*[=:]\s*[\"']([^\"']+)", page.text)
    assert {path.rpartition(".")[2] for path in loaded} == {"css", "js", "png", "json"}
    for path in loaded:
        assert path.startswith("/")
        assert http.get(path).status_code == 200
    assert http.get("/docs/assets/../../settings.py").status_code == 404


def test_the_document_describes_every_route_with_its_body(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    operations = {
        (method, path): operation for path, item in document["paths"].items() for method, operation in item.items()
    }
    assert all(operation["summary"] and operation["tags"] for operation in operations.values())
    body = operations["post", "/threads/{thread_id}/runs/stream"]["requestBody"]
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/RunCreate"}
    references = set(re.findall(r'"#/components/schemas/(\w+)"', http.get("/openapi.json").text))
    assert references <= set(document["components"]["schemas"])
    without_body = {key for key, operation in operations.items() if "requestBody" not in operation}
    posted = {path for method, path in without_body if method in ("post", "patch")}
    assert posted == {
        "/threads/{thread_id}/runs/{run_id}/cancel",
        "/threads/{thread_id}/copy",
        "/runs/crons/{cron_id}/fires/{fire_id}/retry",
        "/webhooks/deliveries/{webhook_id}/redeliver",
    }


def test_a_browser_elsewhere_may_call_and_read_the_headers(http: httpx.Client) -> None:
    preflight = http.options(
        "/threads",
        headers={
            "origin": "https://studio.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,x-api-key",
            "access-control-request-private-network": "true",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-private-network"] == "true"
    for path in ("/ok", "/nowhere"):
        answer = http.get(path, headers={"origin": "https://studio.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
        exposed = set(answer.headers["access-control-expose-headers"].split(", "))
        assert exposed >= {"x-pagination-total", "x-pagination-next", "content-location", "location"}


def test_a_quick_answer_has_a_length_and_comes_at_once(
    http: httpx.Client, thread_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PROMPT_SECONDS", 20.0)  # what counts as quick must not depend on the machine
    assert "content-length" in http.post(f"/threads/{thread_id}/runs/wait", json=STEPS).headers
