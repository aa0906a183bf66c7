"""The official Python SDK as the client: what it does against the original works here."""

import asyncio
from typing import Any, cast
from uuid import uuid4

import pytest
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

DONE = {"n": 4, "log": ["plan", "act", "tell"]}


@pytest.fixture
async def thread(sdk: LangGraphClient) -> str:
    return (await sdk.threads.create())["thread_id"]


async def test_wait_returns_the_values_of_the_run(sdk: LangGraphClient, thread: str) -> None:
    assert await sdk.runs.wait(thread, "steps", input={"n": 1}) == DONE


async def test_wait_without_a_thread_returns_them_too(sdk: LangGraphClient) -> None:
    assert await sdk.runs.wait(None, "steps", input={"n": 1}) == DONE


async def test_an_assistants_id_works_like_its_graphs_name(sdk: LangGraphClient, thread: str) -> None:
    [assistant] = await sdk.assistants.search(graph_id="steps", metadata={"created_by": "system"})
    assert assistant["name"] == "steps"
    assert await sdk.runs.wait(thread, assistant["assistant_id"], input={"n": 1}) == DONE


async def test_a_stream_tells_metadata_first_and_each_state(sdk: LangGraphClient, thread: str) -> None:
    created: list[Any] = []
    parts = [
        part
        async for part in sdk.runs.stream(
            thread, "steps", input={"n": 1}, stream_mode=["values", "updates"], on_run_created=created.append
        )
    ]
    assert [part.event for part in parts[:2]] == ["metadata", "values"]
    assert parts[0].data == {"run_id": created[0]["run_id"], "attempt": 1}
    assert created[0]["thread_id"] == thread
    assert [list(part.data) for part in parts if part.event == "updates"] == [["plan"], ["act"], ["tell"]]
    assert parts[-1].data == DONE
    ids = [int(part.id or 0) for part in parts]
    assert ids == sorted(set(ids))


async def test_a_stream_without_a_thread_ends_by_itself(sdk: LangGraphClient) -> None:
    parts = [part async for part in sdk.runs.stream(None, "steps", input={"n": 1})]
    assert parts[-1].data == DONE


async def test_an_interrupt_is_told_and_answered(sdk: LangGraphClient, thread: str) -> None:
    asked = cast("dict[str, Any]", await sdk.runs.wait(thread, "asking", input={"n": 1}))
    assert [each["value"] for each in asked["__interrupt__"]] == [{"q": "ok?"}]
    paused = await sdk.threads.get(thread)
    assert paused["status"] == "interrupted"
    [[waiting]] = paused["interrupts"].values()
    assert waiting["id"] == asked["__interrupt__"][0]["id"]
    state = await sdk.threads.get_state(thread)
    assert state["next"] == ["ask"]
    assert await sdk.runs.wait(thread, "asking", command={"resume": "yes"}) == {
        "n": 2,
        "log": ["answer yes", "after"],
    }
    assert (await sdk.threads.get(thread))["status"] == "idle"


async def test_a_failed_run_raises_what_it_failed_with(sdk: LangGraphClient, thread: str) -> None:
    with pytest.raises(Exception, match="ValueError: kaboom"):
        await sdk.runs.wait(thread, "failing", input={})
    parts = [part async for part in sdk.runs.stream(thread, "failing", input={})]
    assert (parts[-1].event, parts[-1].data) == ("error", {"error": "ValueError", "message": "kaboom"})


async def test_a_run_in_the_background_is_listed_joined_and_deleted(sdk: LangGraphClient, thread: str) -> None:
    run = await sdk.runs.create(thread, "steps", input={"n": 1}, metadata={"mine": 1})
    assert (run["metadata"] or {})["mine"] == 1
    assert await sdk.runs.join(thread, run["run_id"]) == DONE
    [listed] = await sdk.runs.list(thread, status="success")
    assert listed["run_id"] == run["run_id"]
    assert (await sdk.runs.get(thread, run["run_id"]))["status"] == "success"
    await sdk.runs.delete(thread, run["run_id"])
    assert await sdk.runs.list(thread) == []


async def test_a_joined_stream_is_resumed_behind_the_last_event(sdk: LangGraphClient, thread: str) -> None:
    run = await sdk.runs.create(thread, "ticking", input={"n": 10}, stream_mode="custom")
    whole = [part async for part in sdk.runs.join_stream(thread, run["run_id"], last_event_id="-")]
    assert [part.data for part in whole if part.event == "custom"] == [{"tick": n} for n in range(10)]
    middle = whole[4].id
    rest = [part async for part in sdk.runs.join_stream(thread, run["run_id"], last_event_id=middle)]
    assert rest == whole[5:]
    assert [part async for part in sdk.runs.join_stream(thread, run["run_id"])] == []


async def test_cancel_and_wait_leaves_a_run_interrupted(sdk: LangGraphClient, thread: str) -> None:
    run = await sdk.runs.create(thread, "ticking", input={"n": 1000})
    await sdk.runs.cancel(thread, run["run_id"], wait=True)
    assert (await sdk.runs.get(thread, run["run_id"]))["status"] == "interrupted"
    with pytest.raises(NotFoundError, match="No matching runs to cancel"):
        await sdk.runs.cancel(thread, run["run_id"])


async def test_a_busy_thread_refuses_a_run_that_says_so(sdk: LangGraphClient, thread: str) -> None:
    run = await sdk.runs.create(thread, "ticking", input={"n": 1000})
    with pytest.raises(ConflictError, match="Thread is already running a task"):
        await sdk.runs.create(thread, "steps", input={}, multitask_strategy="reject")
    with pytest.raises(ConflictError, match="Thread is already running a task"):
        await sdk.threads.update_state(thread, {"n": 7})
    await sdk.runs.cancel(thread, run["run_id"], wait=True)


async def test_runs_of_one_thread_stand_in_line(sdk: LangGraphClient, thread: str) -> None:
    runs = [await sdk.runs.create(thread, "steps", input={"n": n}) for n in (1, 10, 20)]
    results = await asyncio.gather(*(sdk.runs.join(thread, run["run_id"]) for run in runs))
    assert [result["n"] for result in results] == [4, 13, 23]
    assert [len(result["log"]) for result in results] == [3, 6, 9]


async def test_a_thread_is_made_labelled_found_and_deleted(sdk: LangGraphClient) -> None:
    wanted = str(uuid4())
    thread = await sdk.threads.create(thread_id=wanted, metadata={"owner": wanted})
    assert thread["status"] == "idle"
    with pytest.raises(ConflictError, match="already exists"):
        await sdk.threads.create(thread_id=wanted)
    assert (await sdk.threads.create(thread_id=wanted, if_exists="do_nothing"))["metadata"] == {"owner": wanted}
    patched = await sdk.threads.update(wanted, metadata={"colour": "blue"})
    assert patched["metadata"] == {"owner": wanted, "colour": "blue"}
    assert [each["thread_id"] for each in await sdk.threads.search(metadata={"owner": wanted})] == [wanted]
    assert await sdk.threads.count(metadata={"owner": wanted}) == 1
    await sdk.threads.delete(wanted)
    with pytest.raises(NotFoundError, match=f"Thread with ID {wanted} not found"):
        await sdk.threads.get(wanted)


async def test_state_is_read_changed_and_forked(sdk: LangGraphClient, thread: str) -> None:
    await sdk.runs.wait(thread, "steps", input={"n": 1})
    history = await sdk.threads.get_history(thread)
    assert [state["next"] for state in history] == [[], ["tell"], ["act"], ["plan"], ["__start__"]]
    before_act = history[2]["checkpoint"]["checkpoint_id"]
    at = await sdk.threads.get_state(thread, checkpoint_id=before_act)
    assert cast("dict[str, Any]", at["values"])["log"] == ["plan"]
    fork = await sdk.threads.update_state(thread, {"n": 100}, checkpoint_id=before_act)
    values = await sdk.runs.wait(thread, "steps", input=None, checkpoint_id=fork["checkpoint"]["checkpoint_id"])
    assert cast("dict[str, Any]", values)["n"] == 102
    older = await sdk.threads.get_history(thread, before=before_act, limit=1)
    assert older[0]["next"] == ["plan"]


async def test_context_reaches_the_graph_under_both_names(sdk: LangGraphClient) -> None:
    for given in ({"context": {"a": 1}}, {"config": {"configurable": {"a": 1}}}):
        values = await sdk.runs.wait(None, "configured", input={}, **cast("Any", given))
        assert values == {"log": ["configurable 1", "context 1"]}


async def test_an_unknown_graph_is_named_with_the_known_ones(sdk: LangGraphClient, thread: str) -> None:
    with pytest.raises(UnprocessableEntityError, match="Invalid assistant: 'nope'") as refused:
        await sdk.runs.create(thread, "nope", input={})
    assert "steps" in str(refused.value)
    with pytest.raises(UnprocessableEntityError, match="broken"):
        await sdk.runs.create(thread, "broken", input={})
    with pytest.raises(NotFoundError):
        await sdk.runs.create(thread, str(uuid4()), input={})


async def test_a_thread_is_made_for_a_run_that_asks_for_it(sdk: LangGraphClient) -> None:
    wanted = str(uuid4())
    with pytest.raises(NotFoundError):
        await sdk.runs.create(wanted, "steps", input={})
    assert await sdk.runs.wait(wanted, "steps", input={"n": 1}, if_not_exists="create") == DONE
    assert (await sdk.threads.get(wanted))["values"] == DONE


async def test_a_run_for_later_waits_until_it_is_due(sdk: LangGraphClient, thread: str) -> None:
    run = await sdk.runs.create(thread, "steps", input={"n": 1}, after_seconds=3600)
    assert run["status"] == "pending"
    assert (await sdk.threads.get(thread))["status"] == "busy"
    await sdk.runs.cancel(thread, run["run_id"], wait=True)
    assert (await sdk.runs.get(thread, run["run_id"]))["status"] == "interrupted"


def test_the_blocking_client_waits_and_streams(sync_sdk: SyncLangGraphClient) -> None:
    thread = sync_sdk.threads.create()["thread_id"]
    assert sync_sdk.runs.wait(thread, "steps", input={"n": 1}) == DONE
    parts = list(sync_sdk.runs.stream(thread, "steps", input={"n": 1}))
    assert parts[0].event == "metadata"
    assert parts[-1].data["n"] == 4
    assert sync_sdk.threads.get_state(thread)["values"] == {**parts[-1].data}
