"""The official client's `threads.stream`, over server-sent events and over a WebSocket: what its user sees."""

import asyncio
from typing import Any, Literal
from uuid import uuid4

import pytest
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient

from threadline.tests.api.streamed_graphs import TOLD
from threadline.tests.laboratory.locks import until

Transport = Literal["sse", "websocket"]


@pytest.fixture(params=["sse", "websocket"])
def transport(request: pytest.FixtureRequest) -> Transport:
    kind: Transport = request.param
    return kind


async def test_values_end_with_the_run(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_talking", transport=transport) as thread:
        started = await thread.run.start(input={"topic": "x"})
        assert started["run_id"]
        logs = [values["log"] async for values in thread.values if values.get("log")]
        assert logs[-1] == ["plan", "talk"]
        assert (await thread.output)["log"] == ["plan", "talk"]


async def test_messages_arrive_as_streams(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_talking", transport=transport) as thread:
        await thread.run.start(input={})
        streams = await _all(thread.messages)
        assert [await stream.text for stream in streams] == [TOLD]


async def test_tools_hand_over_their_results(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_calling", transport=transport) as thread:
        await thread.run.start(input={})
        calls = [call async for call in thread.tool_calls]
        assert [(call.name, call.input) for call in calls] == [("add", {"a": 1, "b": 2})]
        assert (await calls[0].output)["content"] == "3"


async def test_extensions_are_custom_events_by_name(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_talking", transport=transport) as thread:
        await thread.run.start(input={})
        assert [each async for each in thread.extensions["progress"]] == [{"name": "progress", "done": 0.5}]


async def test_subgraphs_are_found_with_their_messages(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_nested", transport=transport) as thread:
        await thread.run.start(input={})
        found = [subgraph async for subgraph in thread.subgraphs]
        assert [(each.graph_name, each.status) for each in found] == [("inner", "completed")]
        assert [await stream.text for stream in await _all(found[0].messages)] == [TOLD]


async def test_a_question_is_answered_and_the_run_goes_on(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_nested_asking", transport=transport) as thread:
        await thread.run.start(input={"topic": "sure?"})
        async for _ in thread.values:
            pass
        await until(lambda: thread.interrupts, "the client knows of the question")
        (asked,) = thread.interrupts
        assert asked["value"] == {"q": "sure?"}
        assert len(asked["namespace"]) == 2
        await thread.run.respond("yes")
        logs = [values.get("log") async for values in thread.values]
        assert logs[-1] == ["answer yes", "plan"]
        assert (await thread.output)["log"] == ["answer yes", "plan"]


async def test_a_failed_run_raises_its_error(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_failing", transport=transport) as thread:
        await thread.run.start(input={})
        with pytest.raises(RuntimeError, match="kaboom"):
            await thread.output


async def test_a_cancelled_run_ends_the_iterators(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_dozing", transport=transport) as thread:
        started = await thread.run.start(input={})
        values = asyncio.ensure_future(_all(thread.values))
        await sdk.runs.cancel(thread.thread_id, started["run_id"], wait=True)
        await values
        with pytest.raises(RuntimeError, match="cancelled"):
            await thread.output


async def test_a_run_that_is_cancelled_while_pending_ends_the_iterators(
    sdk: LangGraphClient, transport: Transport
) -> None:
    made = await sdk.threads.create()
    first = await sdk.runs.create(made["thread_id"], "streamed_dozing", input={})
    async with sdk.threads.stream(made["thread_id"], assistant_id="streamed_talking", transport=transport) as thread:
        second = await thread.run.start(input={})
        messages = asyncio.ensure_future(_all(thread.messages))
        await sdk.runs.cancel(made["thread_id"], second["run_id"])
        assert await messages == []
        with pytest.raises(RuntimeError, match="cancelled"):
            await thread.output
    await sdk.runs.cancel(made["thread_id"], first["run_id"])


async def test_a_second_session_sees_its_own_run_only(sdk: LangGraphClient, transport: Transport) -> None:
    thread_id = str(uuid4())
    for topic in ("first", "second"):
        async with sdk.threads.stream(thread_id, assistant_id="streamed_talking", transport=transport) as thread:
            await thread.run.start(input={"topic": topic})
            topics = [values["topic"] async for values in thread.values if "topic" in values]
            assert topics[-1] == topic
            assert len(topics) >= 3


async def test_raw_events_have_all_channels(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_calling", transport=transport) as thread:
        await thread.run.start(input={})
        seen = set()
        async for event in thread.events:
            seen.add(event.get("method"))
            if event.get("method") == "lifecycle" and event["params"]["data"]["event"] == "completed":
                break
        assert {"values", "updates", "tools", "messages", "lifecycle", "tasks", "checkpoints"} <= seen


async def test_projections_interleave_in_the_order_of_the_log(sdk: LangGraphClient, transport: Transport) -> None:
    async with sdk.threads.stream(assistant_id="streamed_talking", transport=transport) as thread:
        await thread.run.start(input={"topic": "x"})
        names = [name async for name, _ in thread.interleave_projections(["values", "updates", "progress"])]
    assert [name for name in names if name != "values"] == ["progress", "updates", "updates"]
    assert names.count("values") == 3


def test_the_blocking_client_sees_the_same(sync_sdk: SyncLangGraphClient, transport: Transport) -> None:
    with sync_sdk.threads.stream(assistant_id="streamed_talking", transport=transport) as thread:
        thread.run.start(input={"topic": "x"})
        logs = [values["log"] for values in thread.values if values.get("log")]
    assert logs[-1] == ["plan", "talk"]


async def _all(projection: Any) -> list[Any]:
    return [each async for each in projection]


async def test_the_graph_of_the_assistant_is_drawn(sdk: LangGraphClient) -> None:
    async with sdk.threads.stream(assistant_id="streamed_nested") as thread:
        tree = await thread.agent.get_tree()
    assert {node["id"] for node in tree["nodes"]} >= {"plan", "inner"}
