"""The official blocking client, from an assistant to what is left of its thread: read it to learn the client.

Everything here also exists without blocking, under the same names, in `langgraph_sdk.get_client`.
"""

from typing import Any, cast
from uuid import uuid4

import pytest
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError


def test_an_assistant_is_a_graph_with_a_configuration(sync_sdk: SyncLangGraphClient) -> None:
    # The graph `configured` tells what it was configured with. Its name alone would do, too.
    assistant = sync_sdk.assistants.create("configured", context={"a": 1}, name="Ann")
    assistant_id = assistant["assistant_id"]

    first = cast("dict[str, Any]", sync_sdk.runs.wait(None, assistant_id, input={}))
    assert first["log"] == ["configurable 1", "context 1"]

    # A change is a new version; an earlier one can be taken up again.
    changed = sync_sdk.assistants.update(assistant_id, context={"a": 2})
    assert changed["version"] == 2
    assert [each["version"] for each in sync_sdk.assistants.get_versions(assistant_id)] == [2, 1]
    sync_sdk.assistants.set_latest(assistant_id, 1)
    assert sync_sdk.assistants.get(assistant_id)["context"] == {"a": 1}

    # What the graph looks like, and what it takes.
    drawing = sync_sdk.assistants.get_graph(assistant_id)
    assert [node["id"] for node in drawing["nodes"]] == ["__start__", "tell", "__end__"]
    schemas = cast("dict[str, Any]", sync_sdk.assistants.get_schemas(assistant_id))
    assert "n" in schemas["input_schema"]["properties"]

    sync_sdk.assistants.delete(assistant_id)
    with pytest.raises(NotFoundError):
        sync_sdk.assistants.get(assistant_id)


def test_a_thread_remembers_what_its_runs_did(sync_sdk: SyncLangGraphClient) -> None:
    thread = sync_sdk.threads.create(metadata={"about": "the tour"})
    thread_id = thread["thread_id"]

    values = sync_sdk.runs.wait(thread_id, "steps", input={"n": 1})
    assert values == {"n": 4, "log": ["plan", "act", "tell"]}
    assert sync_sdk.threads.get_state(thread_id)["values"] == values

    # The past, newest first; a light one without the values.
    past = sync_sdk.threads.get_history(thread_id, limit=10, select=["next", "checkpoint"])
    assert [state["next"] for state in past] == [[], ["tell"], ["act"], ["plan"], ["__start__"]]

    # Go back to before `act`, change the state there, and go on from it: a fork within the thread.
    fork = sync_sdk.threads.update_state(thread_id, {"n": 70}, checkpoint=past[2]["checkpoint"])
    assert sync_sdk.threads.get_state(thread_id, checkpoint=fork["checkpoint"])["next"] == ["act"]
    again = cast("dict[str, Any]", sync_sdk.runs.wait(thread_id, "steps", input=None))
    assert (again["n"], again["log"]) == (72, ["plan", "act", "tell"])


def test_a_question_waits_on_its_thread_and_on_each_copy(sync_sdk: SyncLangGraphClient) -> None:
    thread_id = sync_sdk.threads.create()["thread_id"]
    sync_sdk.runs.wait(thread_id, "asking", input={"n": 1})
    thread = sync_sdk.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    [[question]] = thread["interrupts"].values()
    assert question["value"] == {"q": "ok?"}

    copied = cast("dict[str, Any]", sync_sdk.threads.copy(thread_id))
    answered = cast("dict[str, Any]", sync_sdk.runs.wait(copied["thread_id"], "asking", command={"resume": "yes"}))
    assert answered["log"] == ["answer yes", "after"]
    assert sync_sdk.threads.get(thread_id)["status"] == "interrupted"


def test_threads_are_found_by_what_is_in_them(sync_sdk: SyncLangGraphClient) -> None:
    mark = uuid4().hex
    for n in (1, 70):
        thread = sync_sdk.threads.create(metadata={"mark": mark})
        sync_sdk.runs.wait(thread["thread_id"], "steps", input={"n": n})

    found = sync_sdk.threads.search(metadata={"mark": mark}, values={"n": 73})
    assert len(found) == 1
    assert sync_sdk.threads.count(metadata={"mark": mark}) == 2

    # A list for a page: only what is shown, and the last line of each log.
    [row, _] = sync_sdk.threads.search(
        metadata={"mark": mark}, select=["thread_id", "status"], extract={"last": "values.log[-1]"}
    )
    assert cast(Any, row) == {"thread_id": row["thread_id"], "status": "idle", "extracted": {"last": "tell"}}


def test_a_thread_can_be_imported_with_its_past(sync_sdk: SyncLangGraphClient) -> None:
    thread = sync_sdk.threads.create(
        graph_id="steps",
        supersteps=[
            {"updates": [{"values": {"n": 1}, "as_node": "__input__"}]},
            {"updates": [{"values": {"n": 2, "log": ["planned elsewhere"]}, "as_node": "plan"}]},
        ],
    )
    values = cast("dict[str, Any]", sync_sdk.runs.wait(thread["thread_id"], "steps", input=None))
    assert values["log"] == ["planned elsewhere", "act", "tell"]
    with pytest.raises(ConflictError):
        sync_sdk.threads.create(thread_id=thread["thread_id"])


def test_a_thread_goes_in_time_or_when_told(sync_sdk: SyncLangGraphClient) -> None:
    brief = sync_sdk.threads.create(ttl=60)  # minutes
    shown = cast("dict[str, Any]", sync_sdk.threads.get(brief["thread_id"], include=["ttl"]))
    assert shown["ttl"]["strategy"] == "delete"

    long = sync_sdk.threads.create()
    sync_sdk.runs.wait(long["thread_id"], "steps", input={"n": 1})
    sync_sdk.threads.prune([long["thread_id"]], strategy="keep_latest")
    assert len(sync_sdk.threads.get_history(long["thread_id"], limit=100)) == 1

    assert sync_sdk.threads.prune([brief["thread_id"], long["thread_id"]]) == {"pruned_count": 2}
    with pytest.raises(NotFoundError):
        sync_sdk.threads.get(long["thread_id"])


def test_the_store_keeps_what_belongs_to_no_thread(sync_sdk: SyncLangGraphClient) -> None:
    ann = ["users", uuid4().hex]
    sync_sdk.store.put_item([*ann, "likes"], "tea", {"cups": 3})
    sync_sdk.store.put_item([*ann, "likes"], "coffee", {"cups": 10}, ttl=60)

    item = cast("dict[str, Any]", sync_sdk.store.get_item([*ann, "likes"], "tea"))
    assert item["value"] == {"cups": 3}
    found = cast("dict[str, Any]", sync_sdk.store.search_items(ann, filter={"cups": {"$gt": 5}}))
    assert [each["key"] for each in found["items"]] == ["coffee"]
    listed = cast("dict[str, Any]", sync_sdk.store.list_namespaces(prefix=ann))
    assert listed["namespaces"] == [[*ann, "likes"]]

    sync_sdk.store.delete_item([*ann, "likes"], "tea")
    assert sync_sdk.store.get_item([*ann, "likes"], "tea") is None
