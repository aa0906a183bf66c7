"""The official `mcp` client: the assistants of the server are its tools."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
from langgraph_sdk import get_client
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult

from threadline.tests.clients.served_graphs import approving

SLEEPING = "select r.status from runs r join threads t using (thread_id) where t.hidden and r.graph_id = 'sleeping'"
HELLO = {"messages": "hello there"}


@pytest.fixture
async def call_tool(url: str) -> Any:
    """Call a tool in a session of its own: what most programs do, and what a server without sessions makes cheap."""

    async def call(name: str, arguments: dict[str, Any], **options: Any) -> CallToolResult:
        async with streamable_http_client(f"{url}/mcp") as (reader, writer), ClientSession(reader, writer) as session:
            await session.initialize()
            result = await session.call_tool(name, arguments, **options)
            assert isinstance(result, CallToolResult)
            return result

    return call


@pytest.fixture
async def raw(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends what it likes."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert content.type == "text"
    return content.text


async def test_a_session_begins_and_lists_every_assistant_as_a_tool(url: str) -> None:
    async with streamable_http_client(f"{url}/mcp") as (reader, writer), ClientSession(reader, writer) as session:
        begun = await session.initialize()
        assert begun.server_info.name == "Threadline"
        assert begun.capabilities.tools is not None
        listed = await session.list_tools()
    tools = {tool.name: tool for tool in listed.tools}
    assert {"chatting", "approving", "adding"} <= set(tools)
    assert tools["adding"].description == "Adds two numbers"


async def test_a_chat_is_a_tool_that_takes_one_text(call_tool: Any) -> None:
    result = await call_tool("chatting", HELLO)
    assert not result.is_error
    values = json.loads(text_of(result))
    assert [message["content"] for message in values["messages"]] == ["hello there", "You said hello there"]
    assert result.structured_content == values


async def test_a_graph_with_a_schema_takes_and_gives_structured_values(url: str, call_tool: Any) -> None:
    async with streamable_http_client(f"{url}/mcp") as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        [tool] = [tool for tool in (await session.list_tools()).tools if tool.name == "adding"]
    assert set(tool.input_schema["properties"]) == set(tool.input_schema["required"]) == {"a", "b"}
    assert tool.output_schema is not None
    assert tool.output_schema["properties"]["total"]["type"] == "integer"
    assert (await call_tool("adding", {"a": 2, "b": 3})).structured_content == {"total": 5}


async def test_arguments_that_do_not_fit_are_told_to_the_model(call_tool: Any) -> None:
    result = await call_tool("adding", {"a": 2, "b": "three"})
    assert result.is_error
    assert text_of(result) == "The arguments do not fit the tool: b: 'three' is not of type 'integer'"


async def test_a_result_of_another_type_than_the_schema_says_is_told_with_the_result(call_tool: Any) -> None:
    result = await call_tool("lying", {"a": 2, "b": 3})
    assert result.is_error
    assert [content.text for content in result.content] == [
        '{"total":"5"}',
        "The result does not fit the tool's output schema: total: '5' is not of type 'integer'",
    ]


async def test_a_failed_run_is_a_failed_call_with_the_reason(call_tool: Any) -> None:
    result = await call_tool("failing", HELLO)
    assert result.is_error
    assert text_of(result) == "ValueError: kaboom"


async def test_a_question_of_the_graph_is_part_of_the_result(call_tool: Any) -> None:
    assert approving.name  # the graph that asks before it sends
    result = await call_tool("approving", HELLO)
    assert not result.is_error
    assert result.structured_content["__interrupt__"][0]["value"] == {"question": "Send 'hello there'?"}


async def test_an_unknown_tool_is_refused_by_its_name(url: str) -> None:
    async with streamable_http_client(f"{url}/mcp") as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        with pytest.raises(MCPError, match="Unknown tool: nobody"):
            await session.call_tool("nobody", {})


async def test_progress_is_told_for_each_step_to_those_who_ask(url: str) -> None:
    told: asyncio.Queue[tuple[float, float | None, str | None]] = asyncio.Queue()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        await told.put((progress, total, message))

    async with streamable_http_client(f"{url}/mcp") as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        result = await session.call_tool("delegating", HELLO, progress_callback=note)
        assert isinstance(result, CallToolResult)
        assert not result.is_error
        assert await asyncio.wait_for(told.get(), 5) == (1, None, "inner finished")
    assert told.empty()


async def test_assistants_of_one_name_are_different_tools(url: str, call_tool: Any) -> None:
    async with get_client(url=url, api_key=None) as client:
        made = [await client.assistants.create("chatting", name="Front desk!") for _ in range(2)]
        try:
            async with (
                streamable_http_client(f"{url}/mcp") as (reader, writer),
                ClientSession(reader, writer) as session,
            ):
                await session.initialize()
                tools = (await session.list_tools()).tools
            names = {(tool.meta or {})["assistant_id"]: tool.name for tool in tools}
            assert names[made[0]["assistant_id"]] == "Front_desk"
            assert names[made[1]["assistant_id"]] == f"Front_desk-{made[1]['assistant_id'][:8]}"
            for assistant in made:
                assert not (await call_tool(names[assistant["assistant_id"]], HELLO)).is_error
        finally:
            for assistant in made:
                await client.assistants.delete(assistant["assistant_id"])


async def test_a_call_that_is_given_up_stops_its_run(own_dsn: str, raw: httpx.AsyncClient) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "sleeping", "arguments": HELLO}}
    call = asyncio.create_task(raw.post("/mcp", json=message))
    await until_sleeping_is(own_dsn, "running")
    call.cancel()
    await until_sleeping_is(own_dsn, "interrupted")


async def until_sleeping_is(dsn: str, status: str) -> None:
    """Wait for the only run of `sleeping` without a thread; it is not to be found through the API."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection, asyncio.timeout(10):
        found: list[str] = []
        while found != [status]:
            await asyncio.sleep(0.05)
            cursor = await connection.execute(SLEEPING)
            found = [row[0] for row in await cursor.fetchall()]


@pytest.mark.parametrize("accept", ["application/json", "*/*", None])
async def test_an_answer_is_json_whatever_the_client_accepts(raw: httpx.AsyncClient, accept: str | None) -> None:
    raw.headers.pop("accept")
    headers = {"accept": accept} if accept else {}
    answer = await raw.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["result"]["tools"]


async def test_a_notification_is_taken_without_an_answer(raw: httpx.AsyncClient) -> None:
    answer = await raw.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', 400, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"nope"}', 200, -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}', 200, -32602),
        (b"[" * 300 + b"]" * 300, 400, -32700),
        (b'{"id":1}', 400, -32602),
    ],
)
async def test_what_is_no_request_is_refused_in_the_protocols_words(
    raw: httpx.AsyncClient, body: bytes, status: int, code: int
) -> None:
    answer = await raw.post("/mcp", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_only_posting_is_allowed_at_the_address(raw: httpx.AsyncClient) -> None:
    for method in ("GET", "DELETE"):
        answer = await raw.request(method, "/mcp")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
