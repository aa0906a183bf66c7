"""The official `a2a-sdk` client: an assistant is an agent for other agents, in both versions of the protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import httpx
import pytest
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.helpers.proto_helpers import get_data_parts, get_message_text, new_data_part, new_text_message, new_text_part
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    InvalidParamsError,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskNotCancelableError,
    TaskNotFoundError,
    TaskState,
    UnsupportedOperationError,
)
from fastapi import FastAPI
from langgraph_sdk import get_client

from threadline.tests.api.conftest import Serve

DONE = TaskState.TASK_STATE_COMPLETED
VERSIONS = ("1.0", "0.3")

Agent = Callable[..., Any]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


async def talk_to(
    url: str, http: httpx.AsyncClient, name: str, version: str = "1.0", *, streaming: bool = True
) -> Client:
    """Return a client as programs make it: the card says where the agent is, and what it can do."""
    card = await A2ACardResolver(http, f"{url}/a2a/{name}").get_agent_card()
    interfaces = [each for each in card.supported_interfaces if each.protocol_version == version]
    del card.supported_interfaces[:]
    card.supported_interfaces.extend(interfaces)
    return ClientFactory(ClientConfig(httpx_client=http, streaming=streaming)).create(card)


def saying(text: str, **fields: Any) -> SendMessageRequest:
    message = new_text_message(text, role=Role.ROLE_USER)
    message.MergeFrom(Message(**fields))
    return SendMessageRequest(message=message)


async def told(stream: AsyncIterator[StreamResponse]) -> list[StreamResponse]:
    return [each async for each in stream]


async def ask(client: Client, request: SendMessageRequest) -> Task:
    """Send without streaming and return the task."""
    [answer] = await told(client.send_message(request))
    return answer.task


async def until_working(client: Client, task_id: str) -> None:
    async with asyncio.timeout(10):
        state = None
        while state != TaskState.TASK_STATE_WORKING:
            await asyncio.sleep(0.05)
            state = (await client.get_task(GetTaskRequest(id=task_id))).status.state


def text_of(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_becomes_a_task_with_its_answer(url: str, http: httpx.AsyncClient, version: str) -> None:
    client = await talk_to(url, http, "chatting", version, streaming=False)
    request = saying("hello there")
    task = await ask(client, request)
    assert task.status.state == DONE
    assert [(artifact.name, text_of(artifact.parts)) for artifact in task.artifacts] == [
        ("Assistant Response", "You said hello there")
    ]
    assert [(message.role, get_message_text(message)) for message in task.history] == [
        (Role.ROLE_USER, "hello there"),
        (Role.ROLE_AGENT, "You said hello there"),
    ]
    assert task.history[0].message_id == request.message.message_id


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stream_tells_the_answer_as_it_grows(url: str, http: httpx.AsyncClient, version: str) -> None:
    client = await talk_to(url, http, "chatting", version)
    events = await told(client.send_message(saying("hello there")))
    kinds = [event.WhichOneof("payload") for event in events]
    assert kinds[0] == "task"
    assert events[0].task.status.state == TaskState.TASK_STATE_SUBMITTED
    assert kinds[-2:] == ["artifact_update", "status_update"]
    assert text_of(events[-2].artifact_update.artifact.parts) == "You said hello there"
    assert events[-1].status_update.status.state == DONE
    texts = [get_message_text(event.status_update.status.message) for event in events[1:-2]]
    assert all("You said hello there".startswith(text) for text in texts)
    assert texts == sorted(texts, key=len)
    assert texts[-1] == "You said hello there"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_context_is_a_thread_that_remembers(url: str, http: httpx.AsyncClient, version: str) -> None:
    client = await talk_to(url, http, "chatting", version, streaming=False)
    first = await ask(client, saying("one"))
    second = await ask(client, saying("two", context_id=first.context_id))
    assert second.context_id == first.context_id
    assert second.id != first.id
    assert [get_message_text(message) for message in second.history] == ["two", "You said two"]
    async with get_client(url=url, api_key=None) as langgraph:
        values: Any = (await langgraph.threads.get(first.context_id))["values"]
    assert [message["content"] for message in values["messages"]] == ["one", "You said one", "two", "You said two"]


async def test_the_history_of_the_whole_context_is_told_when_asked_for(url: str, http: httpx.AsyncClient) -> None:
    client = await talk_to(url, http, "chatting", streaming=False)
    first = await ask(client, saying("one"))
    http.headers["LangGraph-A2A-History-Scope"] = "context"
    second = await ask(client, saying("two", context_id=first.context_id))
    assert [get_message_text(message) for message in second.history] == ["one", "You said one", "two", "You said two"]
    shorter = await client.get_task(GetTaskRequest(id=second.id, history_length=1))
    assert [get_message_text(message) for message in shorter.history] == ["You said two"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_question_is_answered_in_the_same_task(url: str, http: httpx.AsyncClient, version: str) -> None:
    client = await talk_to(url, http, "approving", version, streaming=False)
    asked = await ask(client, saying("the report"))
    assert asked.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    [data] = get_data_parts(asked.status.message.parts)
    assert data["interrupts"][0]["value"] == {"question": "Send 'the report'?"}
    answered = await ask(client, saying("yes", task_id=asked.id, context_id=asked.context_id))
    assert answered.id == asked.id
    assert answered.status.state == DONE
    assert text_of(answered.artifacts[0].parts) == "Decided: yes"
    assert (await client.get_task(GetTaskRequest(id=asked.id))).status.state == DONE


async def test_data_is_an_answer_that_reaches_the_graph_as_it_is(url: str, http: httpx.AsyncClient) -> None:
    client = await talk_to(url, http, "approving", streaming=False)
    asked = await ask(client, saying("the report"))
    request = saying("", task_id=asked.id)
    del request.message.parts[:]
    request.message.parts.append(new_data_part({"approved": True}))
    answered = await ask(client, request)
    assert text_of(answered.artifacts[0].parts) == "Decided: {'approved': True}"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_task_that_fails_says_why(url: str, http: httpx.AsyncClient, version: str) -> None:
    client = await talk_to(url, http, "failing", version, streaming=False)
    task = await ask(client, saying("hello"))
    assert task.status.state == TaskState.TASK_STATE_FAILED
    assert get_message_text(task.status.message) == "ValueError: kaboom"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_task_that_works_is_looked_up_joined_and_cancelled(
    url: str, http: httpx.AsyncClient, version: str
) -> None:
    client = await talk_to(url, http, "sleeping", version, streaming=False)
    request = saying("hello")
    request.configuration.CopyFrom(SendMessageConfiguration(return_immediately=True))
    task = await ask(client, request)
    assert task.status.state in (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)
    streaming = await talk_to(url, http, "sleeping", version)
    joined = asyncio.create_task(told(streaming.subscribe(SubscribeToTaskRequest(id=task.id))))
    await until_working(client, task.id)
    cancelled = await client.cancel_task(CancelTaskRequest(id=task.id))
    assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
    events = await joined
    assert events[0].WhichOneof("payload") == "task"
    assert events[-1].status_update.status.state == TaskState.TASK_STATE_CANCELED
    with pytest.raises(TaskNotCancelableError):
        await client.cancel_task(CancelTaskRequest(id=task.id))


async def test_a_stream_that_was_left_is_joined_again_with_all_that_was_said(url: str, http: httpx.AsyncClient) -> None:
    client = await talk_to(url, http, "sleeping")
    stream = client.send_message(saying("hello"))
    async with aclosing(stream):  # type: ignore[type-var]  # it is a generator, declared as an iterator
        task_id = (await anext(stream)).task.id
    async with asyncio.timeout(10):
        async for event in client.subscribe(SubscribeToTaskRequest(id=task_id)):
            if get_message_text(event.status_update.status.message) == "I am thinking":
                break
    await client.cancel_task(CancelTaskRequest(id=task_id))


async def test_a_task_outlives_the_server_it_was_begun_on(
    dsn: str, make_app: Callable[[str], FastAPI], serve: Serve, http: httpx.AsyncClient
) -> None:
    with serve(make_app(dsn)) as served:
        client = await talk_to(served.url, http, "approving", streaming=False)
        asked = await ask(client, saying("the report"))
    with serve(make_app(dsn)) as served:
        client = await talk_to(served.url, http, "approving", streaming=False)
        found = await client.get_task(GetTaskRequest(id=asked.id))
        assert found.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert get_message_text(found.status.message) == get_message_text(asked.status.message)
        answered = await ask(client, saying("yes", task_id=asked.id))
        assert answered.status.state == DONE


async def test_tasks_are_listed_in_pages_by_context_and_state(url: str, http: httpx.AsyncClient) -> None:
    client = await talk_to(url, http, "chatting", streaming=False)
    context_id = str(uuid4())
    made = [await ask(client, saying(text, context_id=context_id)) for text in ("one", "two", "three")]
    first = await client.list_tasks(ListTasksRequest(context_id=context_id, page_size=2, include_artifacts=True))
    assert [task.id for task in first.tasks] == [made[2].id, made[1].id]
    assert (first.total_size, first.page_size) == (3, 2)
    assert text_of(first.tasks[0].artifacts[0].parts) == "You said three"
    request = ListTasksRequest(context_id=context_id, page_size=2, page_token=first.next_page_token)
    second = await client.list_tasks(request)
    assert [task.id for task in second.tasks] == [made[0].id]
    assert not second.next_page_token
    assert not second.tasks[0].artifacts
    failed = ListTasksRequest(context_id=context_id, status=TaskState.TASK_STATE_FAILED)
    assert not (await client.list_tasks(failed)).tasks


async def test_a_card_introduces_the_agent_to_both_versions(url: str, http: httpx.AsyncClient) -> None:
    cards = [
        (await http.get(f"{url}{path}")).json()
        for path in (
            "/.well-known/agent-card.json?assistant_id=chatting",
            "/a2a/chatting/.well-known/agent-card.json",
            "/a2a/chatting",
        )
    ]
    assert cards[0] == cards[1] == cards[2]
    assert cards[0]["name"] == "chatting"
    assert cards[0]["description"] == "Repeats what it is told"
    assert [each["protocolVersion"] for each in cards[0]["supportedInterfaces"]] == ["1.0", "0.3"]
    assert cards[0]["url"] == cards[0]["supportedInterfaces"][0]["url"]
    assert cards[0]["url"].startswith(f"{url}/a2a/")
    assert cards[0]["capabilities"]["streaming"] is True


async def test_a_card_that_cannot_be_given_is_refused_with_the_reason(url: str, http: httpx.AsyncClient) -> None:
    assert (await http.get(f"{url}/.well-known/agent-card.json")).status_code == 400
    assert (await http.get(f"{url}/a2a/nobody/.well-known/agent-card.json")).status_code == 422
    refused = await http.get(f"{url}/a2a/adding/.well-known/agent-card.json")
    assert (refused.status_code, "'messages' field" in refused.json()["detail"]) == (422, True)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_cannot_be_done_is_refused_in_the_protocols_words(
    url: str, http: httpx.AsyncClient, version: str
) -> None:
    client = await talk_to(url, http, "chatting", version, streaming=False)
    task = await ask(client, saying("hello"))
    with pytest.raises(TaskNotFoundError):
        await client.get_task(GetTaskRequest(id=f"{uuid4()}:{uuid4()}"))
    with pytest.raises(TaskNotFoundError):
        await client.get_task(GetTaskRequest(id="nonsense"))
    with pytest.raises(UnsupportedOperationError, match="waits for nothing"):
        await ask(client, saying("more", task_id=task.id))
    with pytest.raises(InvalidParamsError, match="contextId must be a UUID"):
        await ask(client, saying("hello", context_id="my context"))
    other = await talk_to(url, http, "approving", version, streaming=False)
    with pytest.raises(TaskNotFoundError):
        await other.get_task(GetTaskRequest(id=task.id))
    streaming = await talk_to(url, http, "chatting", version)
    with pytest.raises((UnsupportedOperationError, A2AClientError)):
        await told(streaming.subscribe(SubscribeToTaskRequest(id=task.id)))


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("chatting", {"method": "tasks/nope"}, -32601),
        ("chatting", {"method": "tasks/pushNotificationConfig/get", "params": {"id": "x"}}, -32003),
        ("chatting", {"method": "agent/getAuthenticatedExtendedCard"}, -32007),
        ("chatting", {"method": "SendMessage", "params": {}}, -32602),
        ("chatting", {"method": "message/send", "params": {}}, -32600),
        ("chatting", {"method": "GetTask", "params": {"id": "nonsense"}}, -32001),
        ("chatting", {"method": "ListTasks", "params": {"pageSize": 1000}}, -32602),
        ("chatting", {"method": "ListTasks", "params": {"pageToken": "?"}}, -32602),
        ("nobody", {"method": "GetTask", "params": {"id": "nonsense"}}, -32602),
    ],
)
async def test_a_mistake_has_the_protocols_number(
    url: str, http: httpx.AsyncClient, name: str, message: dict[str, Any], code: int
) -> None:
    answer = await http.post(f"{url}/a2a/{name}", json={"jsonrpc": "2.0", "id": 1, **message})
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, code)


async def test_an_assistant_that_takes_no_messages_is_no_agent(url: str, http: httpx.AsyncClient) -> None:
    message = {"role": "ROLE_USER", "messageId": "1", "parts": [{"text": "hello"}]}
    request = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    error = (await http.post(f"{url}/a2a/adding", json=request)).json()["error"]
    assert error["code"] == -32602
    assert "must include a 'messages' field" in error["message"]


@pytest.mark.parametrize("body", [b"{", b"[" * 300 + b"]" * 300, b'"\\ud800"', b""])
async def test_what_is_no_json_is_refused_as_such(url: str, http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post(f"{url}/a2a/chatting", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32700)


async def test_files_and_data_reach_the_graph_as_blocks(url: str, http: httpx.AsyncClient) -> None:
    client = await talk_to(url, http, "chatting", streaming=False)
    request = saying("look")
    request.message.parts.append(Part(url="https://example.org/a.png", media_type="image/png"))
    request.message.parts.append(Part(raw=b"abc", media_type="text/csv", filename="a.csv"))
    task = await ask(client, request)
    async with get_client(url=url, api_key=None) as langgraph:
        values: Any = (await langgraph.threads.get(task.context_id))["values"]
    assert values["messages"][0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image", "mime_type": "image/png", "url": "https://example.org/a.png"},
        {"type": "file", "mime_type": "text/csv", "filename": "a.csv", "base64": "YWJj"},
    ]
    assert new_text_part("look").text == get_message_text(task.history[0])
