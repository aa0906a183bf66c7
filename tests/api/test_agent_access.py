"""Owns the proof that the project's handlers decide for agents, too: who calls a tool, and whose tasks are shown."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from threadline.tests.api.guarded_world import GRAPHS, client_of, serve_project, write_project

CHATS = GRAPHS.replace(
    "class State(TypedDict, total=False):", "class State(TypedDict, total=False):\n    messages: Any"
)


@pytest.fixture(scope="module")
def url(server_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = write_project(tmp_path_factory.mktemp("agents"), graphs=CHATS)
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


def call(client: httpx.Client, path: str, method: str, params: Any) -> Any:
    answer = client.post(path, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return answer.raise_for_status().json()


def send(client: httpx.Client, **fields: Any) -> Any:
    message = {"role": "ROLE_USER", "messageId": str(uuid4()), "parts": [{"text": "hello"}], **fields}
    return call(client, "/a2a/telling", "SendMessage", {"message": message})


def test_a_tool_runs_on_behalf_of_who_calls_it(alice: httpx.Client) -> None:
    result = call(alice, "/mcp", "tools/call", {"name": "telling", "arguments": {"messages": "hello"}})["result"]
    assert result["structuredContent"]["told"]["identity"] == "alice"


def test_a_tool_is_nobodys_but_its_owners(alice: httpx.Client, bob: httpx.Client) -> None:
    made = alice.post("/assistants", json={"graph_id": "telling", "name": "Mine"}).raise_for_status().json()
    names = [[tool["name"] for tool in call(who, "/mcp", "tools/list", {})["result"]["tools"]] for who in (alice, bob)]
    assert names == [["Mine"], []]
    error = call(bob, "/mcp", "tools/call", {"name": "Mine", "arguments": {"messages": "hello"}})["error"]
    assert error["message"] == "Unknown tool: Mine"
    for path in (f"/a2a/{made['assistant_id']}", f"/.well-known/agent-card.json?assistant_id={made['assistant_id']}"):
        assert alice.get(path).status_code == 200
        assert bob.get(path).status_code == 404


def test_a_task_is_shown_to_its_owner_only(alice: httpx.Client, bob: httpx.Client) -> None:
    task = send(alice)["result"]["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    params = {"id": task["id"]}
    assert call(alice, "/a2a/telling", "GetTask", params)["result"]["id"] == task["id"]
    for method in ("GetTask", "CancelTask", "tasks/get", "tasks/cancel"):
        assert call(bob, "/a2a/telling", method, params)["error"]["code"] == -32001
    assert [each["id"] for each in call(alice, "/a2a/telling", "ListTasks", {})["result"]["tasks"]] == [task["id"]]
    assert call(bob, "/a2a/telling", "ListTasks", {})["result"]["totalSize"] == 0


def test_nobody_speaks_in_anothers_context(alice: httpx.Client, bob: httpx.Client) -> None:
    task = send(alice)["result"]["task"]
    assert send(bob, contextId=task["contextId"])["error"]["code"] == -32001
    assert send(bob, contextId=task["contextId"], taskId=task["id"])["error"]["code"] == -32001
    thread = alice.get(f"/threads/{task['contextId']}").raise_for_status().json()
    assert thread["metadata"]["owner"] == "alice"
    assert thread["values"]["told"]["identity"] == "alice"
