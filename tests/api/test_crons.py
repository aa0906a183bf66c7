"""Crons by the official client: created, found, changed, deleted, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError

from threadline.tests.laboratory.locks import until


async def create(sdk: LangGraphClient, **fields: Any) -> Any:
    return await sdk.crons.create("steps", **{"schedule": "0 12 * * *", **fields})


async def test_a_cron_shows_what_was_asked_for(sdk: LangGraphClient) -> None:
    cron = await create(sdk, timezone="America/New_York", input={"n": 1}, metadata={"a": 1}, on_run_completed="keep")
    due = datetime.fromisoformat(cron["next_run_date"])
    assert (due.utcoffset(), due.hour) in [(timedelta(0), 16), (timedelta(0), 17)]
    assert cron["payload"] == {
        "assistant_id": cron["assistant_id"],
        "schedule": "0 12 * * *",
        "timezone": "America/New_York",
        "input": {"n": 1},
        "metadata": {"a": 1},
        "on_run_completed": "keep",
        "config": {"configurable": {"cron_id": cron["cron_id"]}},
    }
    assert (cron["thread_id"], cron["user_id"], cron["end_time"], cron["enabled"]) == (None, "", None, True)
    await sdk.crons.delete(cron["cron_id"])


async def test_a_cron_is_changed_key_by_key(sdk: LangGraphClient) -> None:
    end = datetime.now(UTC) + timedelta(days=30)
    cron = await create(sdk, timezone="America/New_York", metadata={"a": 1}, end_time=end)
    path = f"/runs/crons/{cron['cron_id']}"
    changed: Any = await sdk.crons.update(cron["cron_id"], schedule="30 13 * * *", metadata={"b": 2}, input={"n": 2})
    assert changed["next_run_date"][11:16] in ("17:30", "18:30")
    assert (changed["metadata"], changed["payload"]["metadata"]) == ({"a": 1, "b": 2}, {"b": 2})
    assert changed["payload"]["input"] == {"n": 2}
    changed = await sdk.crons.update(cron["cron_id"], timezone="UTC", end_time=None, enabled=False)
    assert changed["next_run_date"][11:16] == "13:30"
    assert (changed["end_time"], changed["enabled"], changed["schedule"]) == (None, False, "30 13 * * *")
    assert await sdk.http.get(path) == changed
    await sdk.crons.delete(cron["cron_id"])
    for again in (sdk.http.get(path), sdk.http.patch(path, json={"enabled": True}), sdk.http.delete(path)):
        with pytest.raises(NotFoundError, match="not found"):
            await again


async def test_crons_are_found_and_counted(sdk: LangGraphClient, thread_id: str) -> None:
    mark = {"mark": str(uuid4())}
    plain = await create(sdk, metadata=mark, enabled=False)
    on_thread: Any = await sdk.crons.create_for_thread(thread_id, "failing", schedule="@daily", metadata=mark)
    found = await sdk.crons.search(metadata=mark)
    assert [cron["cron_id"] for cron in found] == [on_thread["cron_id"], plain["cron_id"]]
    assert [cron["cron_id"] for cron in await sdk.crons.search(metadata=mark, enabled=True)] == [on_thread["cron_id"]]
    assert await sdk.crons.search(thread_id=thread_id) == [found[0]]
    assert await sdk.crons.search(metadata=mark, sort_by="created_at", sort_order="asc", limit=1) == [found[1]]
    schedules: Any = await sdk.crons.search(metadata=mark, select=["schedule"])
    assert schedules == [{"schedule": "@daily"}, {"schedule": "0 12 * * *"}]
    assert await sdk.crons.count(metadata=mark) == 2
    assert await sdk.crons.count(metadata=mark, assistant_id=on_thread["assistant_id"]) == 1
    assert (on_thread["on_run_completed"], plain["on_run_completed"]) == (None, "delete")
    for cron in found:
        await sdk.crons.delete(cron["cron_id"])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"schedule": "bad"}, "Invalid cron schedule: 'bad'. Reason:"),
        ({"schedule": "61 * * * *"}, "Invalid cron schedule: '61 * * * *'"),
        ({"schedule": "0 0 30 2 *"}, "Invalid cron schedule"),
        ({"schedule": "* * * * * * *"}, "Invalid cron schedule"),
        ({"timezone": "Mars/X"}, "Invalid timezone: 'Mars/X'. Use IANA timezone format"),
        ({"timezone": "../etc/passwd"}, "Invalid timezone"),
        ({"end_time": "soon"}, "end_time: "),
        ({"webhook": "https://127.0.0.1/x"}, "Webhook host blocked: loopback IP range"),
        ({"schedule": None}, "schedule: "),
        ({"enabled": "yes"}, "enabled: "),
        ({"metadata": {"a": "\0"}}, "metadata.a holds U+0000"),
    ],
)
def test_a_cron_that_can_never_fire_is_refused(http: httpx.Client, fields: dict[str, Any], told: str) -> None:
    answer = http.post("/runs/crons", json={"assistant_id": "steps", "schedule": "0 1 * * *", **fields})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(told)


async def test_what_a_cron_refers_to_must_exist(sdk: LangGraphClient) -> None:
    with pytest.raises(NotFoundError):
        await sdk.crons.create_for_thread(str(uuid4()), "steps", schedule="@daily")
    for nobody in (str(uuid4()), "nope"):
        with pytest.raises(NotFoundError, match="not found"):
            await sdk.crons.create(nobody, schedule="@daily")
    with pytest.raises(UnprocessableEntityError, match="Invalid cron ID: must be a UUID"):
        await sdk.http.get("/runs/crons/x")
    cron = await create(sdk)
    with pytest.raises(UnprocessableEntityError, match="Invalid cron schedule"):
        await sdk.crons.update(cron["cron_id"], schedule="bad")
    await sdk.crons.delete(cron["cron_id"])


async def test_a_cron_starts_runs_that_know_it(sdk: LangGraphClient) -> None:
    mark = str(uuid4())
    fields: Any = {"schedule": "* * * * * *", "input": {"n": 1}, "on_run_completed": "keep", "config": {"tags": ["c"]}}
    cron = await create(sdk, metadata={"mark": mark}, **fields)

    async def threads() -> Any:
        return await sdk.threads.search(metadata={"mark": mark}, status="idle")

    [thread, *_] = await until(threads, "a run of the cron has ended")
    await sdk.crons.delete(cron["cron_id"])
    [run] = await sdk.runs.list(thread["thread_id"])
    kwargs: Any = run["kwargs"]  # type: ignore[typeddict-item]  # which the client's type leaves out
    assert thread["values"] == {"n": 4, "log": ["plan", "act", "tell"]}
    assert (run["metadata"] or {})["cron_id"] == cron["cron_id"]
    assert kwargs["config"]["configurable"]["cron_id"] == cron["cron_id"]
    assert kwargs["config"]["tags"] == ["c"]


async def test_a_cron_on_a_thread_uses_that_thread(sdk: LangGraphClient, thread_id: str) -> None:
    cron: Any = await sdk.crons.create_for_thread(thread_id, "steps", schedule="* * * * * *", input={"n": 1})

    async def two_are_over() -> Any:
        return [run["status"] for run in await sdk.runs.list(thread_id)].count("success") >= 2

    await until(two_are_over, "two runs of the cron have ended on the thread")
    await sdk.crons.update(cron["cron_id"], enabled=False)
    await sdk.crons.delete(cron["cron_id"])
