"""Assistants through the official SDK: made, changed in versions, found, drawn, and deleted with their threads."""

from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import BadRequestError, ConflictError, NotFoundError, UnprocessableEntityError
from langgraph_sdk.schema import Assistant

from threadline.graphs.registry import system_assistant_id

STATE = {"n", "text", "log"}


@pytest.fixture
async def assistant(sdk: LangGraphClient) -> Assistant:
    return await sdk.assistants.create(
        "configured",
        config=cast(Any, {"configurable": {"a": 1}, "tags": ["t"], "recursion_limit": 7}),
        metadata={"team": "x"},
        name="Ann",
        description="first",
    )


async def test_an_assistant_is_made_with_one_configuration_under_two_names(assistant: Assistant) -> None:
    assert assistant["config"] == {"configurable": {"a": 1}, "tags": ["t"], "recursion_limit": 7}
    assert assistant["context"] == {"a": 1}
    assert (assistant["version"], assistant["name"], assistant["description"]) == (1, "Ann", "first")


async def test_an_assistants_configuration_reaches_its_runs(sdk: LangGraphClient, assistant: Assistant) -> None:
    result = cast("dict[str, Any]", await sdk.runs.wait(None, assistant["assistant_id"], input={}))
    assert result["log"] == ["configurable 1", "context 1"]
    await sdk.assistants.update(assistant["assistant_id"], context={"a": 2})
    result = cast("dict[str, Any]", await sdk.runs.wait(None, assistant["assistant_id"], input={}))
    assert result["log"] == ["configurable 2", "context 2"]


async def test_an_assistant_of_a_given_id_is_made_once(sdk: LangGraphClient) -> None:
    name = str(uuid4())
    made = await sdk.assistants.create("steps", assistant_id=name, name="one")
    with pytest.raises(ConflictError, match="already exists"):
        await sdk.assistants.create("steps", assistant_id=name, name="two")
    assert await sdk.assistants.create("steps", assistant_id=name, name="two", if_exists="do_nothing") == made


async def test_each_change_is_a_version_that_can_be_taken_up_again(sdk: LangGraphClient, assistant: Assistant) -> None:
    assistant_id = assistant["assistant_id"]
    changed = await sdk.assistants.update(assistant_id, graph_id="steps", context={"a": 2}, metadata={"k": 2})
    assert changed["version"] == 2
    assert changed["metadata"] == {"team": "x", "k": 2}
    assert changed["config"] == {"configurable": {"a": 2}, "tags": ["t"], "recursion_limit": 7}
    again = await sdk.assistants.set_latest(assistant_id, 1)
    assert {**again, "updated_at": None} == {**assistant, "updated_at": None}
    assert (await sdk.assistants.get(assistant_id))["context"] == {"a": 1}
    # Numbers are never used again.
    assert (await sdk.assistants.update(assistant_id, name="Bob"))["version"] == 3
    versions = await sdk.assistants.get_versions(assistant_id)
    assert [(each["version"], each["name"]) for each in versions] == [(3, "Bob"), (2, "Ann"), (1, "Ann")]
    assert [each["version"] for each in await sdk.assistants.get_versions(assistant_id, metadata={"k": 2})] == [2]
    assert [each["version"] for each in await sdk.assistants.get_versions(assistant_id, limit=1, offset=1)] == [2]


async def test_an_unknown_version_is_not_found(sdk: LangGraphClient, assistant: Assistant) -> None:
    with pytest.raises(NotFoundError, match="Version 99 not found"):
        await sdk.assistants.set_latest(assistant["assistant_id"], 99)


async def test_configurable_and_context_cannot_contradict_each_other(
    sdk: LangGraphClient, assistant: Assistant
) -> None:
    both: dict[str, Any] = {"config": {"configurable": {"a": 1}}, "context": {"a": 2}}
    with pytest.raises(BadRequestError, match="Cannot specify both"):
        await sdk.assistants.create("steps", **both)
    with pytest.raises(BadRequestError, match="Cannot specify both"):
        await sdk.assistants.update(assistant["assistant_id"], **both)


async def test_assistants_are_found_counted_and_paged(sdk: LangGraphClient) -> None:
    mark = uuid4().hex
    for number in range(3):
        await sdk.assistants.create("steps", name=f"{mark} {number}", metadata={"mark": mark, "number": number})
    found = await sdk.assistants.search(name=mark.upper(), sort_by="name", sort_order="asc", select=["name"])
    assert cast(Any, found) == [{"name": f"{mark} {number}"} for number in range(3)]
    page = await sdk.assistants.search(metadata={"mark": mark}, limit=2, response_format="object")
    assert [(each.get("metadata") or {})["number"] for each in page["assistants"]] == [2, 1]
    assert page["next"] == "2"
    assert await sdk.assistants.count(metadata={"mark": mark}) == 3
    assert await sdk.assistants.count(metadata={"mark": mark}, graph_id="asking") == 0


async def test_a_deleted_assistant_is_gone_and_its_threads_with_it_when_asked(
    sdk: LangGraphClient, assistant: Assistant
) -> None:
    assistant_id = assistant["assistant_id"]
    thread = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread, assistant_id, input={})
    await sdk.assistants.delete(assistant_id, delete_threads=True)
    for call in (sdk.assistants.get(assistant_id), sdk.assistants.update(assistant_id), sdk.threads.get(thread)):
        with pytest.raises(NotFoundError):
            await call
    with pytest.raises(NotFoundError):
        await sdk.assistants.delete(assistant_id)


async def test_the_threads_of_a_deleted_assistant_stay_unless_asked(sdk: LangGraphClient, assistant: Assistant) -> None:
    thread = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread, assistant["assistant_id"], input={})
    await sdk.assistants.delete(assistant["assistant_id"])
    assert (await sdk.threads.get(thread))["thread_id"] == thread
    # Its graph is there still.
    assert (await sdk.threads.get_state(thread))["values"]


async def test_the_assistant_that_a_graph_is_reached_by_stays(sdk: LangGraphClient) -> None:
    own = str(system_assistant_id("failing"))
    with pytest.raises(ConflictError, match="belongs to its graph"):
        await sdk.assistants.delete(own)
    with pytest.raises(ConflictError, match="belongs to graph 'failing'"):
        await sdk.assistants.update(own, graph_id="steps")
    changed = await sdk.assistants.update(own, metadata={"mine": 1})
    assert changed["metadata"] == {"created_by": "system", "mine": 1}
    assert await sdk.assistants.get("failing") == changed
    assert (await sdk.assistants.set_latest(own, 1))["metadata"] == {"created_by": "system"}


async def test_a_graph_is_drawn_with_as_much_of_its_subgraphs_as_asked(sdk: LangGraphClient) -> None:
    plain = await sdk.assistants.get_graph(str(system_assistant_id("nested")))
    assert plain == {
        "nodes": [
            {"id": "__start__", "type": "runnable", "data": {"name": "__start__"}},
            {"id": "inner", "type": "runnable", "data": {"name": "inner"}},
            {"id": "__end__"},
        ],
        "edges": [{"source": "__start__", "target": "inner"}, {"source": "inner", "target": "__end__"}],
    }
    seen: Any
    for depth in (True, 1):
        seen = await sdk.assistants.get_graph("nested", xray=depth)
        assert {node["id"] for node in seen["nodes"]} >= {"inner:plan", "inner:act", "inner:tell"}


@pytest.mark.parametrize("xray", ["0", "-1", "abc", "1e3", "99999999999"])
def test_a_depth_that_is_none_draws_nothing(http: httpx.Client, xray: str) -> None:
    response = http.get("/assistants/nested/graph", params={"xray": xray})
    assert (response.status_code, response.json()) == (422, {"detail": "Invalid xray value"})


async def test_an_assistant_tells_the_schemas_of_its_graph(sdk: LangGraphClient, assistant: Assistant) -> None:
    schemas = cast("dict[str, Any]", await sdk.assistants.get_schemas(assistant["assistant_id"]))
    assert schemas["graph_id"] == "configured"
    for name in ("input_schema", "output_schema", "state_schema"):
        assert set(schemas[name]["properties"]) == STATE
    assert schemas["state_schema"]["title"] == "configured_state"
    assert schemas["state_schema"]["properties"]["n"] == {"default": None, "title": "N", "type": "integer"}
    assert schemas["config_schema"] == schemas["context_schema"]
    assert schemas["context_schema"]["properties"] == {"a": {"title": "A", "type": "integer"}}
    plain = cast("dict[str, Any]", await sdk.assistants.get_schemas("steps"))
    assert (plain["config_schema"], plain["context_schema"]) == ({}, None)


async def test_subgraphs_are_listed_by_their_place(sdk: LangGraphClient) -> None:
    found = cast("dict[str, Any]", await sdk.assistants.get_subgraphs("nested", recurse=True))
    assert list(found) == ["inner"]
    assert set(found["inner"]["state_schema"]["properties"]) == STATE
    assert await sdk.assistants.get_subgraphs("nested", namespace="inner") == found
    assert await sdk.assistants.get_subgraphs("nested", namespace="nobody") == {}


HOSTILE = ["\0", "a\0b"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"graph_id": 5},
        {"graph_id": "steps", "assistant_id": "x"},
        {"graph_id": "steps", "config": []},
        {"graph_id": "steps", "config": {"tags": "x"}},
        {"graph_id": "steps", "config": {"recursion_limit": 0}},
        {"graph_id": "steps", "name": 5},
        {"graph_id": "steps", "if_exists": "maybe"},
        *({"graph_id": "steps", "name": text} for text in HOSTILE),
        *({"graph_id": "steps", "description": text} for text in HOSTILE),
        *({"graph_id": "steps", "metadata": {"k": text}} for text in HOSTILE),
        *({"graph_id": "steps", "context": {text: 1}} for text in HOSTILE),
        *({"graph_id": "steps", "config": {"configurable": {"k": [text]}}} for text in HOSTILE),
    ],
)
def test_an_assistant_that_cannot_be_is_refused_and_not_made(http: httpx.Client, body: dict[str, Any]) -> None:
    before = http.post("/assistants/count", json={}).json()
    response = http.post("/assistants", json=body)
    assert response.status_code == 422, response.text
    assert isinstance(response.json()["detail"], str)
    assert http.post("/assistants/count", json={}).json() == before


def test_half_a_surrogate_pair_is_refused(http: httpx.Client) -> None:
    response = http.post("/assistants", content=b'{"graph_id":"steps","name":"\\ud800"}')
    assert response.status_code == 422


def test_a_graph_that_is_not_there_is_not_found(http: httpx.Client) -> None:
    for path, body in (
        ("/assistants", {"graph_id": "nope"}),
        ("/assistants/search", {"graph_id": "nope"}),
        ("/assistants/count", {"graph_id": "nope"}),
    ):
        response = http.post(path, json=body)
        assert response.status_code == 404
        assert response.json()["detail"].startswith("Graph 'nope' not found. Expected one of: [")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/versions", {}),
        ("POST", "/latest", {"version": 1}),
        ("GET", "/graph", None),
        ("GET", "/schemas", None),
        ("GET", "/subgraphs", None),
        ("GET", "/subgraphs/inner", None),
    ],
)
def test_an_unknown_assistant_is_404_and_what_is_no_id_422(
    http: httpx.Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    for assistant_id, status in ((str(uuid4()), 404), ("nope", 422), ("%00", 422), ("broken", 422)):
        response = http.request(method, f"/assistants/{assistant_id}{path}", json=body)
        assert response.status_code == status, response.text
        assert isinstance(response.json()["detail"], str)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/versions", {"limit": 0}),
        ("/versions", {"limit": "x"}),
        ("/versions", {"offset": -1}),
        ("/versions", {"metadata": {"k": "\0"}}),
        ("/latest", {}),
        ("/latest", {"version": "x"}),
        ("/latest", {"version": 0}),
        ("/latest", {"version": 2**40}),
    ],
)
def test_versions_that_cannot_be_are_refused(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    assert http.post(f"/assistants/steps{path}", json=body).status_code == 422


async def test_a_change_that_is_refused_changes_nothing(sdk: LangGraphClient, assistant: Assistant) -> None:
    wrong: list[dict[str, Any]] = [
        {"metadata": {"k": "\0"}},
        {"name": "\0"},
        {"context": {"k": "\0"}},
        {"config": {"configurable": {"k": "\0"}}},
    ]
    for changes in wrong:
        with pytest.raises(UnprocessableEntityError):
            await sdk.assistants.update(assistant["assistant_id"], **changes)
    with pytest.raises(NotFoundError, match="Graph 'nope' not found"):
        await sdk.assistants.update(assistant["assistant_id"], graph_id="nope")
    assert await sdk.assistants.get(assistant["assistant_id"]) == assistant
