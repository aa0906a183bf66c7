"""kill -9 in the middle of a message: what a reader of the event-streaming protocol sees who comes back."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from threadline.tests.process.deployments import Deployment

LETTERS = "abcdefghijklmnopqrst"
CHANNELS = ["lifecycle", "messages", "updates", "values"]

Event = dict[str, Any]


async def follow(http: httpx.AsyncClient, thread_id: str, since: int) -> AsyncIterator[Event]:
    body = {"channels": CHANNELS, "since": since}
    async with http.stream("POST", f"/threads/{thread_id}/stream/events", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def read_until(deployment: Deployment, thread_id: str, since: int, last: Callable[[Event], bool]) -> list[Event]:
    events: list[Event] = []
    async with httpx.AsyncClient(base_url=deployment.url, timeout=30) as http:
        async for event in follow(http, thread_id, since):
            events.append(event)
            if last(event):
                return events
    raise AssertionError("the stream ended")


def is_delta(event: Event) -> bool:
    return event["method"] == "messages" and "delta" in event["params"]["data"]


def is_end(event: Event) -> bool:
    return event["method"] == "lifecycle" and event["params"]["data"]["event"] in ("completed", "failed")


def text_of(messages: list[Any]) -> str:
    return "".join(each["delta"]["text"] for each in messages if each["event"] == "content-block-delta")


@pytest.mark.slow  # two servers: seven seconds
async def test_a_message_that_a_killed_process_began_ends_and_is_told_anew(deployment: Deployment) -> None:
    server = await deployment.serve()
    postmaster, thread_id = deployment.postmaster, str(uuid4())
    async with httpx.AsyncClient(base_url=deployment.url, timeout=30) as http:
        params = {"assistant_id": "talking", "input": {"name": "told"}}
        command = {"id": 1, "method": "run.start", "params": params}
        assert (await http.post(f"/threads/{thread_id}/commands", json=command)).json()["type"] == "success"
    before = await read_until(deployment, thread_id, 0, is_delta)
    server.kill()
    await deployment.without_postgres(postmaster)
    await deployment.serve()
    after = await read_until(deployment, thread_id, before[-1]["seq"], is_end)

    everything = before + after
    assert [event["seq"] for event in everything] == sorted({event["seq"] for event in everything})
    assert await read_until(deployment, thread_id, 0, is_end) == everything
    told: dict[str, list[Any]] = {}
    for event in everything:
        if event["method"] == "messages":
            data = event["params"]["data"]
            told.setdefault(data["id"], []).append(data)
    broken, whole = told.values()
    assert [broken[0]["event"], broken[-1]["event"]] == ["message-start", "error"]
    assert len(text_of(broken)) < len(LETTERS)
    assert LETTERS.startswith(text_of(broken))
    assert (text_of(whole), whole[-1]["event"]) == (LETTERS, "message-finish")
    lives = [event["params"]["data"]["event"] for event in everything if event["method"] == "lifecycle"]
    assert lives == ["running", "running", "completed"]
    nodes = [next(iter(event["params"]["data"])) for event in everything if event["method"] == "updates"]
    assert nodes == ["a", "talk", "c"]
    logs = [event["params"]["data"]["log"] for event in everything if event["method"] == "values"]
    assert logs == [[], ["a"], ["a", "talk"], ["a", "talk", "c"]]
