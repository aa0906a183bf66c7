"""Threads through the official SDK: born with a past, found, copied, measured, pruned, and what is refused."""

from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError, BadRequestError, ConflictError, NotFoundError

PAST: list[dict[str, Any]] = [
    {"updates": [{"values": {"n": 1, "log": ["a"]}, "as_node": "__input__"}]},
    {"updates": [{"values": {"n": 5, "log": ["b"]}, "as_node": "plan"}]},
]


async def interrupted(sdk: LangGraphClient) -> str:
    thread_id = (await sdk.threads.create(metadata={"mark": uuid4().hex}))["thread_id"]
    await sdk.runs.wait(thread_id, "asking", input={"n": 1})
    return thread_id


def run_to_its_end(http: httpx.Client, thread_id: str) -> str:
    run = http.post(f"/threads/{thread_id}/runs", json={"assistant_id": "steps", "input": {"n": 1}}).json()
    run_id: str = run["run_id"]
    http.get(f"/threads/{thread_id}/runs/{run_id}/join")
    return run_id


async def test_a_thread_can_be_born_with_a_past(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create(graph_id="steps", supersteps=cast(Any, PAST))
    assert (thread["status"], thread["values"]) == ("interrupted", {"n": 5, "log": ["b"]})
    state = await sdk.threads.get_state(thread["thread_id"])
    assert state["next"] == ["act"]
    # From there a run goes on.
    result = await sdk.runs.wait(thread["thread_id"], "steps", input=None)
    assert result == {"n": 7, "log": ["b", "act", "tell"]}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"supersteps": PAST}, "has no assigned graph ID"),
        ({"metadata": {"graph_id": "steps"}, "supersteps": [{"updates": []}]}, "No updates provided"),
        (
            {"metadata": {"graph_id": "steps"}, "supersteps": [*PAST, {"updates": [{"values": {}, "as_node": "zzz"}]}]},
            "Node zzz does not exist",
        ),
    ],
)
def test_a_past_that_cannot_be_leaves_no_thread(http: httpx.Client, body: dict[str, Any], told: str) -> None:
    thread_id = str(uuid4())
    response = http.post("/threads", json=body | {"thread_id": thread_id})
    assert (response.status_code, told in response.json()["detail"]) == (400, True)
    assert http.get(f"/threads/{thread_id}").status_code == 404


async def test_a_thread_that_is_there_keeps_its_past(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create(graph_id="steps", supersteps=cast(Any, PAST))
    again: dict[str, Any] = {"thread_id": thread["thread_id"], "graph_id": "steps", "supersteps": PAST}
    with pytest.raises(ConflictError):
        await sdk.threads.create(**again)
    assert await sdk.threads.create(**again, if_exists="do_nothing") == thread
    assert len(await sdk.threads.get_history(thread["thread_id"], limit=100)) == len(PAST)


async def test_threads_are_found_by_what_they_hold_and_shown_in_part(sdk: LangGraphClient) -> None:
    mark = uuid4().hex
    threads = [await sdk.threads.create(metadata={"mark": mark, "at": {"n": n}}) for n in range(3)]
    await sdk.runs.wait(threads[1]["thread_id"], "steps", input={"n": 70})
    by_values = await sdk.threads.search(metadata={"mark": mark}, values={"n": 73})
    assert [each["thread_id"] for each in by_values] == [threads[1]["thread_id"]]
    assert await sdk.threads.count(metadata={"mark": mark}, values={"n": 73}) == 1
    nested = await sdk.threads.search(metadata={"mark": mark, "at": {"n": 2}}, select=["thread_id", "metadata"])
    assert cast(Any, nested) == [{"thread_id": threads[2]["thread_id"], "metadata": {"mark": mark, "at": {"n": 2}}}]
    ids = [threads[0]["thread_id"], threads[2]["thread_id"]]
    found = await sdk.threads.search(ids=ids, sort_by="created_at", sort_order="asc")
    assert [each["thread_id"] for each in found] == ids


async def test_places_within_threads_are_extracted(sdk: LangGraphClient) -> None:
    mark = uuid4().hex
    thread = await sdk.threads.create(metadata={"mark": mark})
    await sdk.runs.wait(thread["thread_id"], "steps", input={"n": 1})
    paths = {
        "n": "values.n",
        "last": "values.log[-1]",
        "first": "values.log[0]",
        "none": "values.zz.y",
        "far": "values.log[9]",
        "odd": "values.log[x]",
        "mark": "metadata.mark",
        "all": "values",
    }
    [found] = await sdk.threads.search(metadata={"mark": mark}, extract=paths, select=["thread_id"])
    done = {"n": 4, "log": ["plan", "act", "tell"]}
    extracted = {"n": 4, "last": "tell", "first": "plan", "none": None, "far": None, "odd": None, "mark": mark}
    assert cast(Any, found) == {"thread_id": thread["thread_id"], "extracted": extracted | {"all": done}}


async def test_a_copy_has_the_past_and_goes_on_by_itself(sdk: LangGraphClient) -> None:
    source = await interrupted(sdk)
    copied = cast("dict[str, Any]", await sdk.threads.copy(source))
    assert copied["thread_id"] != source
    assert copied["metadata"] == (await sdk.threads.get(source))["metadata"]
    assert copied["status"] == "interrupted"
    mine = await sdk.threads.get_history(copied["thread_id"], limit=10)
    theirs = await sdk.threads.get_history(source, limit=10)
    assert [state["values"] for state in mine] == [state["values"] for state in theirs]
    assert [state["checkpoint"]["thread_id"] for state in mine] == [copied["thread_id"]] * len(theirs)
    await sdk.runs.wait(copied["thread_id"], "asking", command={"resume": "yes"})
    assert (await sdk.threads.get(source))["status"] == "interrupted"
    assert [run["status"] for run in await sdk.runs.list(copied["thread_id"])] == ["success"]


async def test_a_copy_of_nothing_is_not_found(sdk: LangGraphClient) -> None:
    with pytest.raises(NotFoundError):
        await sdk.threads.copy(str(uuid4()))


async def test_a_copy_of_a_busy_thread_stands_still(sdk: LangGraphClient) -> None:
    source = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(source, "ticking", input={"n": 0})
    run = await sdk.runs.create(source, "ticking", input={"n": 50})
    copied = cast("dict[str, Any]", await sdk.threads.copy(source))
    assert copied["status"] == "interrupted"
    await sdk.runs.cancel(source, run["run_id"], wait=True)
    assert await sdk.runs.wait(copied["thread_id"], "ticking", input={"n": 0})


def test_what_a_thread_takes_is_measured(http: httpx.Client, thread_id: str) -> None:
    empty = http.get(f"/threads/{thread_id}/storage").json()
    assert empty == {
        "thread_id": thread_id,
        "total_bytes": empty["thread"]["bytes"],
        "checkpoints": {"count": 0, "bytes": 0},
        "channel_values": {"count": 0, "bytes": 0, "by_channel": {}},
        "pending_writes": {"count": 0, "bytes": 0},
        "events": {"count": 0, "bytes": 0},
        "runs": {"count": 0, "bytes": 0},
        "rollback_writes": {"count": 0, "bytes": 0},
        "effects": {"count": 0, "bytes": 0},
        "thread": {"bytes": empty["thread"]["bytes"]},
    }
    http.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": "steps", "input": {"n": 1, "text": "x" * 1000}})
    full = http.get(f"/threads/{thread_id}/storage").json()
    assert full["total_bytes"] == sum(part["bytes"] for part in full.values() if isinstance(part, dict))
    assert (full["checkpoints"]["count"], full["runs"]["count"]) == (5, 1)
    by_channel = full["channel_values"]["by_channel"]
    assert by_channel["n"]["versions"] == 4
    assert by_channel["text"]["versions"] == 1
    assert http.get(f"/threads/{uuid4()}/storage").status_code == 404


async def test_a_thread_tells_how_long_it_lives_when_asked(sdk: LangGraphClient) -> None:
    thread = await sdk.threads.create(ttl=5)
    shown = cast("dict[str, Any]", await sdk.threads.get(thread["thread_id"], include=["ttl"]))
    assert (shown["ttl"]["strategy"], shown["ttl"]["ttl_minutes"]) == ("delete", 5)
    assert shown["ttl"]["expires_at"] > shown["created_at"]
    assert "ttl" not in await sdk.threads.get(thread["thread_id"])
    await sdk.threads.update(thread["thread_id"], metadata={}, ttl={"ttl": 7.5, "strategy": "keep_latest"})
    shown = cast("dict[str, Any]", await sdk.threads.get(thread["thread_id"], include=["ttl"]))
    assert (shown["ttl"]["strategy"], shown["ttl"]["ttl_minutes"]) == ("keep_latest", 7.5)
    await sdk.threads.update(thread["thread_id"], metadata={"a": 1})
    shown = cast("dict[str, Any]", await sdk.threads.get(thread["thread_id"], include=["ttl"]))
    assert (shown["ttl"]["strategy"], shown["ttl"]["ttl_minutes"]) == ("keep_latest", 7.5)
    await sdk.threads.update(thread["thread_id"], metadata={}, ttl={"ttl": -1})
    assert cast("dict[str, Any]", await sdk.threads.get(thread["thread_id"], include=["ttl"]))["ttl"] is None


async def test_pruned_threads_are_gone(sdk: LangGraphClient) -> None:
    threads = [await interrupted(sdk), (await sdk.threads.create())["thread_id"]]
    assert await sdk.threads.prune([*threads, str(uuid4()), threads[0]]) == {"pruned_count": 2}
    for thread_id in threads:
        with pytest.raises(NotFoundError):
            await sdk.threads.get(thread_id)


async def test_a_thread_that_keeps_its_latest_state_can_go_on(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    first = await sdk.runs.create(thread_id, "steps", input={"n": 1})
    await sdk.runs.join(thread_id, first["run_id"])
    await sdk.runs.wait(thread_id, "asking", input={"n": 1})
    before = await sdk.threads.get_state(thread_id)
    assert await sdk.threads.prune([thread_id], strategy="keep_latest") == {"pruned_count": 1}
    [left] = await sdk.threads.get_history(thread_id, limit=100)
    after = await sdk.threads.get_state(thread_id)
    assert left["checkpoint"] == after["checkpoint"]
    assert after == before
    assert (await sdk.threads.get(thread_id))["status"] == "interrupted"
    result = cast("dict[str, Any]", await sdk.runs.wait(thread_id, "asking", command={"resume": "yes"}))
    assert result["log"][-2:] == ["answer yes", "after"]


def test_a_cursor_behind_what_a_prune_left_is_told_where_the_log_begins(http: httpx.Client, thread_id: str) -> None:
    first, second = (run_to_its_end(http, thread_id) for _ in range(2))
    http.post("/threads/prune", json={"thread_ids": [thread_id], "strategy": "keep_latest"})
    cut = http.get(f"/threads/{thread_id}/runs/{first}/stream", headers={"Last-Event-ID": "1"})
    assert cut.status_code == 410
    assert "Resume after" in cut.json()["detail"]
    kept = http.get(f"/threads/{thread_id}/runs/{second}/stream", headers={"Last-Event-ID": "-"})
    assert (kept.status_code, kept.text.count("event: values")) == (200, 4)


async def test_a_busy_thread_keeps_its_past(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    run = await sdk.runs.create(thread_id, "ticking", input={"n": 50})
    assert await sdk.threads.prune([thread_id], strategy="keep_latest") == {"pruned_count": 0}
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True)
    assert await sdk.threads.prune([thread_id], strategy="keep_latest") == {"pruned_count": 1}


def test_a_field_that_states_do_not_have_is_refused(http: httpx.Client, thread_id: str) -> None:
    response = http.get(f"/threads/{thread_id}/state", params={"select": "nope"})
    assert response.status_code == 422
    assert "must be one of values, next" in response.json()["detail"]


async def test_states_are_shown_in_part(sdk: LangGraphClient) -> None:
    thread_id = await interrupted(sdk)
    light = cast("dict[str, Any]", await sdk.threads.get_state(thread_id, select=["next", "values.n"]))
    assert light == {"next": ["ask"], "values": {"n": 1}}
    history = await sdk.threads.get_history(thread_id, limit=10, select=["next"])
    assert cast(Any, history) == [{"next": ["ask"]}, {"next": ["__start__"]}]
    whole = await sdk.threads.get_state(thread_id)
    at = await sdk.threads.get_state(thread_id, checkpoint=whole["checkpoint"], select=["checkpoint"])
    assert cast(Any, at) == {"checkpoint": whole["checkpoint"]}


async def test_a_state_update_that_means_nothing_is_a_bad_request(sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    with pytest.raises(BadRequestError, match="has no assigned graph ID"):
        await sdk.threads.update_state(thread_id, {"n": 1})
    await sdk.runs.wait(thread_id, "steps", input={"n": 1})
    with pytest.raises(BadRequestError, match="Node zzz does not exist"):
        await sdk.threads.update_state(thread_id, {"n": 1}, as_node="zzz")
    with pytest.raises(BadRequestError, match="Expected dict"):
        await sdk.threads.update_state(thread_id, [{"n": 1}])
    assert len(await sdk.threads.get_history(thread_id, limit=100)) == 5


UNKNOWN = "6b1f0c0e-0000-4000-8000-000000000000"
IDS = [UNKNOWN] * 1001


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/threads", {"ttl": 5}, 422),
        ("/threads", {"ttl": {"ttl": "x"}}, 422),
        ("/threads", {"ttl": {"ttl": 1e12}}, 422),
        ("/threads", {"ttl": {"strategy": "x"}}, 422),
        ("/threads", {"metadata": {"k": "\0"}}, 422),
        ("/threads", {"metadata": {"graph_id": 5}, "supersteps": PAST}, 400),
        ("/threads", {"metadata": {"graph_id": "nope"}, "supersteps": PAST}, 422),
        ("/threads", {"supersteps": [{"updates": [{}]}] * 1001}, 422),
        ("/threads/prune", {}, 422),
        ("/threads/prune", {"thread_ids": ["x"]}, 422),
        ("/threads/prune", {"thread_ids": IDS}, 422),
        ("/threads/prune", {"thread_ids": [], "strategy": "x"}, 422),
        ("/threads/search", {"ids": ["x"]}, 400),
        ("/threads/search", {"ids": ["\0"]}, 400),
        ("/threads/search", {"ids": IDS}, 422),
        ("/threads/search", {"extract": {f"a{n}": "values.n" for n in range(11)}}, 422),
        ("/threads/search", {"extract": {"a": 5}}, 422),
        ("/threads/search", {"extract": {"a": "values" + ".x" * 500}}, 422),
        ("/threads/search", {"select": ["thread_id"] * 51}, 422),
        ("/threads/search", {"metadata": {"k": "\0"}}, 422),
        (f"/threads/{UNKNOWN}/copy", None, 404),
        ("/threads/x/copy", None, 422),
        (f"/threads/{UNKNOWN}/history", {"select": ["x"]}, 422),
    ],
)
def test_what_cannot_be_done_with_threads_is_refused(
    http: httpx.Client, path: str, body: dict[str, Any] | None, status: int
) -> None:
    before = http.post("/threads/count", json={}).json()
    response = http.post(path, json=body)
    assert response.status_code == status, response.text
    assert isinstance(response.json()["detail"], str)
    assert http.post("/threads/count", json={}).json() == before


async def test_an_unknown_place_among_subgraphs_is_a_clear_error(sdk: LangGraphClient) -> None:
    thread_id = await interrupted(sdk)
    with pytest.raises(APIStatusError, match="not found"):
        await sdk.threads.get_state(thread_id, checkpoint_id=str(uuid4()))
