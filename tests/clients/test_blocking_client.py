"""The official Python client without asyncio, which scripts and notebooks use: each call returns when it is done."""

from collections.abc import Iterator
from threading import Thread
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import NotFoundError

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello there"}]}


@pytest.fixture
def client(url: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=url, api_key=None) as client:
        yield client


@pytest.fixture
def thread(client: SyncLangGraphClient) -> str:
    return client.threads.create()["thread_id"]


def counted(parts: list[Any]) -> list[int]:
    return [part.data["counted"] for part in parts if part.event == "custom"]


def test_a_stream_is_a_loop_over_its_events(client: SyncLangGraphClient, thread: str) -> None:
    created: list[Any] = []
    parts = list(
        client.runs.stream(
            thread, "counting", input={"upto": 3}, stream_mode=["custom", "updates"], on_run_created=created.append
        )
    )
    assert parts[0].event == "metadata"
    assert parts[0].data["run_id"] == created[0]["run_id"]
    assert counted(parts) == [1, 2, 3]
    assert parts[-1].data == {"count": {"counted": [1, 2, 3]}}


def test_tokens_are_pieces_of_one_message(client: SyncLangGraphClient, thread: str) -> None:
    parts = client.runs.stream(thread, "chatting", input=HELLO, stream_mode="messages-tuple")
    tokens = [cast("Any", part.data)[0]["content"] for part in parts if part.event == "messages"]
    assert "".join(tokens) == "You said hello there"
    assert len(tokens) > 1


def test_growing_messages_are_told_whole_each_time(client: SyncLangGraphClient, thread: str) -> None:
    parts = client.runs.stream(thread, "chatting", input=HELLO, stream_mode="messages")
    grown = [cast("Any", part.data)[0]["content"] for part in parts if part.event == "messages/partial"]
    assert all("You said hello there".startswith(text) for text in grown)
    assert grown[-1] == "You said hello there"


def test_a_question_is_answered_by_the_next_stream(client: SyncLangGraphClient, thread: str) -> None:
    asked = list(client.runs.stream(thread, "approving", input=HELLO, stream_mode="updates"))
    [question] = cast("Any", asked[-1].data)["__interrupt__"]
    assert question["value"] == {"question": "Send 'hello there'?"}
    answered = list(client.runs.stream(thread, "approving", command={"resume": {question["id"]: "yes"}}))
    assert cast("Any", answered[-1].data)["messages"][-1]["content"] == "Decided: yes"


def test_a_failure_is_an_event_of_the_stream(client: SyncLangGraphClient, thread: str) -> None:
    parts = list(client.runs.stream(thread, "failing", input=HELLO))
    assert (parts[-1].event, parts[-1].data) == ("error", {"error": "ValueError", "message": "kaboom"})


def test_a_stream_of_another_program_is_joined_behind_an_event(client: SyncLangGraphClient, thread: str) -> None:
    run = client.runs.create(thread, "counting", input={"upto": 5}, stream_mode=["custom", "values"])
    everything = list(client.runs.join_stream(thread, run["run_id"], last_event_id="-"))
    assert counted(everything) == [1, 2, 3, 4, 5]
    third = next(part for part in everything if part.event == "custom" and part.data == {"counted": 3})
    rest = list(client.runs.join_stream(thread, run["run_id"], last_event_id=third.id, stream_mode="custom"))
    assert [part.data for part in rest] == [{"counted": 4}, {"counted": 5}]


def test_a_run_is_waited_for_by_two_programs_at_once(client: SyncLangGraphClient, thread: str, url: str) -> None:
    run = client.runs.create(thread, "counting", input={"upto": 10})
    joined: list[Any] = []

    def join() -> None:
        with get_sync_client(url=url, api_key=None) as another:
            joined.append(another.runs.join(thread, run["run_id"]))

    other = Thread(target=join)
    other.start()
    mine = client.runs.join(thread, run["run_id"])
    other.join(20)
    assert joined == [mine]


def test_a_stream_that_is_left_does_not_end_its_run(client: SyncLangGraphClient, thread: str) -> None:
    stream = client.runs.stream(thread, "counting", input={"upto": 20}, stream_mode="custom")
    started = next(iter(stream))
    cast("Any", stream).close()
    values = cast("dict[str, Any]", client.runs.join(thread, cast("Any", started.data)["run_id"]))
    assert len(values["counted"]) == 20


def test_a_run_is_stopped_from_outside(client: SyncLangGraphClient, thread: str) -> None:
    stream = client.runs.stream(thread, "sleeping", input=HELLO, stream_mode="messages-tuple")
    run_id = cast("Any", next(iter(stream)).data)["run_id"]
    client.runs.cancel(thread, run_id, wait=True)
    assert client.runs.get(thread, run_id)["status"] == "interrupted"
    assert all(part.event == "messages" for part in stream)


def test_runs_without_a_thread_need_no_tidying_up(client: SyncLangGraphClient) -> None:
    assert client.runs.wait(None, "adding", input={"a": 2, "b": 3}) == {"a": 2, "b": 3, "total": 5}
    parts = list(client.runs.stream(None, "counting", input={"upto": 1}, stream_mode="custom"))
    assert counted(parts) == [1]


def test_what_does_not_exist_is_an_exception_of_its_own(client: SyncLangGraphClient) -> None:
    with pytest.raises(NotFoundError):
        client.threads.get(str(uuid4()))
    with pytest.raises(NotFoundError):
        list(client.runs.stream(str(uuid4()), "counting", input={}))


@pytest.mark.slow  # the client tries for seven seconds
def test_a_server_that_is_not_there_is_told_as_such() -> None:
    with get_sync_client(url="http://127.0.0.1:9", api_key=None) as nobody, pytest.raises(httpx.ConnectError):
        nobody.threads.create()
