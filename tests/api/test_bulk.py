"""Many runs at once: batches, cancelling several, and the stream of a whole thread, by the official client."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError

from threadline.tests.laboratory.locks import until

DONE = {"n": 4, "log": ["plan", "act", "tell"]}
LONG = {"n": 500}


async def start(sdk: LangGraphClient, thread_id: str, **more: Any) -> str:
    run = await sdk.runs.create(thread_id, "ticking", input=LONG, **more)
    return run["run_id"]


async def statuses(sdk: LangGraphClient, thread_id: str) -> list[str]:
    return [run["status"] for run in await sdk.runs.list(thread_id)]


async def until_all_are(sdk: LangGraphClient, thread_id: str, status: str) -> None:
    async def arrived() -> bool:
        return set(await statuses(sdk, thread_id)) == {status}

    await until(arrived, f"all runs of {thread_id} are {status}")


async def test_a_batch_of_runs_is_answered_in_its_order(sdk: LangGraphClient) -> None:
    payloads: list[Any] = [
        {"assistant_id": "steps", "input": {"n": n}, "metadata": {"place": n}, "on_completion": "keep"}
        for n in range(3)
    ]
    runs: Any = await sdk.runs.create_batch(payloads)
    assert [run["metadata"]["place"] for run in runs] == [0, 1, 2]
    values: list[Any] = [await sdk.runs.join(run["thread_id"], run["run_id"]) for run in runs]
    assert [each["n"] for each in values] == [3, 4, 5]


async def test_a_batch_with_a_run_of_no_graph_starts_none(sdk: LangGraphClient) -> None:
    before = await sdk.threads.count()
    good: Any = {"assistant_id": "steps", "input": {}, "on_completion": "keep"}
    with pytest.raises(UnprocessableEntityError, match="Invalid assistant: 'nope'"):
        await sdk.runs.create_batch([good, good | {"assistant_id": "nope"}])
    assert await sdk.threads.count() == before


@pytest.mark.parametrize("body", [[], {}, "x", [1]])
def test_a_batch_is_a_list_of_at_least_one_run(http: httpx.Client, body: Any) -> None:
    answer = http.post("/runs/batch", json=body)
    assert (answer.status_code, list(answer.json())) == (422, ["detail"])


async def test_named_runs_of_a_thread_are_cancelled_together(sdk: LangGraphClient, thread_id: str) -> None:
    first, second = await start(sdk, thread_id), await start(sdk, thread_id)
    await sdk.runs.cancel_many(thread_id=thread_id, run_ids=[first, second])
    await until_all_are(sdk, thread_id, "interrupted")
    with pytest.raises(NotFoundError, match="No runs found to cancel"):
        await sdk.runs.cancel_many(thread_id=thread_id, run_ids=[first, str(uuid4())])


async def test_runs_are_cancelled_by_their_status(sdk: LangGraphClient, thread_id: str) -> None:
    await start(sdk, thread_id)
    await start(sdk, thread_id, after_seconds=3600)
    await sdk.runs.cancel_many(status="pending")

    async def only_one_is_left() -> bool:
        return sorted(await statuses(sdk, thread_id)) == ["interrupted", "running"]

    await until(only_one_is_left, "the pending run is cancelled, the other is not")
    await sdk.runs.cancel_many(status="all", action="rollback")

    async def is_gone() -> bool:
        return await statuses(sdk, thread_id) == ["interrupted"]

    await until(is_gone, "the running run is rolled back")
    assert (await sdk.threads.get(thread_id))["status"] == "idle"


@pytest.mark.parametrize(
    "body",
    [{}, {"run_ids": []}, {"thread_id": str(uuid4())}, {"status": "odd"}, {"status": "all", "run_ids": []}],
)
def test_a_bulk_cancel_says_which_runs_in_one_way(http: httpx.Client, body: Any) -> None:
    answer = http.post("/runs/cancel", json=body)
    assert (answer.status_code, list(answer.json())) == (422, ["detail"])


async def follow(sdk: LangGraphClient, thread_id: str, count: int, **how: Any) -> list[Any]:
    parts = []
    async with asyncio.timeout(20):
        async for part in await sdk.threads.join_stream(thread_id, **how):
            if part.event is not None:
                parts.append(part)
            if len(parts) == count:
                return parts
    raise AssertionError("the stream ended")


async def test_a_thread_stream_tells_of_all_its_runs(sdk: LangGraphClient, thread_id: str) -> None:
    following = asyncio.create_task(follow(sdk, thread_id, 10, last_event_id="-"))
    runs: list[str] = []
    for _ in range(2):
        run = await sdk.runs.create(thread_id, "steps", input={"n": 1}, stream_mode="updates")
        await sdk.runs.join(thread_id, run["run_id"])
        runs.append(run["run_id"])
    parts = await following
    assert [part.event for part in parts] == ["metadata", "updates", "updates", "updates", "metadata"] * 2
    assert [part.data for part in parts if part.event == "metadata"] == [
        {"run_id": runs[0], "attempt": 1},
        {"status": "run_done", "run_id": runs[0]},
        {"run_id": runs[1], "attempt": 1},
        {"status": "run_done", "run_id": runs[1]},
    ]
    ids = [int(part.id) for part in parts]
    assert ids == sorted(set(ids))
    later = await follow(sdk, thread_id, 5, last_event_id=str(ids[4]))
    assert [part.id for part in later] == [part.id for part in parts[5:]]


async def test_a_thread_stream_can_be_of_lifecycles_only(sdk: LangGraphClient, thread_id: str) -> None:
    await sdk.runs.wait(thread_id, "steps", input={"n": 1})
    parts = await follow(sdk, thread_id, 2, last_event_id="-", stream_mode="lifecycle")
    assert [list(part.data) for part in parts] == [["run_id", "attempt"], ["status", "run_id"]]


async def test_a_thread_stream_can_be_of_state_updates_only(sdk: LangGraphClient, thread_id: str) -> None:
    await sdk.runs.wait(thread_id, "steps", input={"n": 1})
    await sdk.threads.update_state(thread_id, {"n": 7})
    [part] = await follow(sdk, thread_id, 1, last_event_id="-", stream_mode="state_update")
    assert part.event == "state_update"
    assert part.data["thread_id"] == thread_id
    assert part.data["state"] == await sdk.threads.get_state(thread_id)


def test_a_thread_stream_refuses_what_it_does_not_know(http: httpx.Client, thread_id: str) -> None:
    odd = http.get(f"/threads/{thread_id}/stream", params={"stream_modes": "odd"})
    assert (odd.status_code, odd.json()["detail"].partition(".")[0]) == (422, "Invalid stream mode: odd")
    assert http.get(f"/threads/{thread_id}/stream", headers={"last-event-id": "x"}).status_code == 422
    assert http.get(f"/threads/{uuid4()}/stream").status_code == 404


def test_a_thread_stream_ends_with_its_thread(http: httpx.Client, thread_id: str) -> None:
    with http.stream("GET", f"/threads/{thread_id}/stream") as stream:
        assert http.delete(f"/threads/{thread_id}").status_code == 204
        text = stream.read().decode()
    assert "event: error\r\n" in text
    assert "was deleted" in text
