"""A server that stops in the middle of what agents asked of it: they are told, nothing hangs, and runs go on."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from a2a.client import Client
from a2a.client.errors import A2AClientError
from a2a.helpers.proto_helpers import get_message_text
from a2a.types import CancelTaskRequest, GetTaskRequest, ListTasksRequest, SubscribeToTaskRequest, TaskState
from fastapi import FastAPI
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from threadline.api.app import create_app
from threadline.graphs.registry import Registry
from threadline.runs.engine import open_engine
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import Serve, Served, engine_settings
from threadline.tests.clients.test_a2a import saying, talk_to, told
from threadline.tests.clients.test_mcp import HELLO, until_sleeping_is
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.places import reach

MakeApp = Callable[[], FastAPI]
AT_WORK = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)


@pytest.fixture
def make_app(dsn: str, registry: Registry) -> MakeApp:
    """The whole application over the test's own database, which hands its runs back soon when it stops."""
    settings = replace(engine_settings(), drain=timedelta(seconds=0.5))
    return lambda: create_app(lambda: open_engine(reach(dsn), registry, settings), ApiSettings())


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


async def any_task(client: Client) -> bool:
    return bool((await client.list_tasks(ListTasksRequest())).tasks)


def begin_to_stop(served: Served) -> "asyncio.Task[None]":
    """Stop the server; a failure if it has not within 20 s."""
    return asyncio.create_task(asyncio.to_thread(served.stop))


async def test_a_stream_of_a_task_is_cut_and_subscribed_to_on_the_next_server(
    make_app: MakeApp, serve: Serve, http: httpx.AsyncClient
) -> None:
    with serve(make_app()) as served:
        client = await talk_to(served.url, http, "sleeping")
        stream = client.send_message(saying("hello"))
        async with aclosing(stream):  # type: ignore[type-var]  # it is a generator, declared as an iterator
            task_id = (await anext(stream)).task.id
            stopping = begin_to_stop(served)
            with pytest.raises(A2AClientError, match="without sending complete message body"):
                await asyncio.wait_for(told(stream), 15)
        await stopping
    with serve(make_app()) as served:
        client = await talk_to(served.url, http, "sleeping")
        async with asyncio.timeout(15):
            async for event in client.subscribe(SubscribeToTaskRequest(id=task_id)):
                if get_message_text(event.status_update.status.message) == "I am thinking":
                    break
        await client.cancel_task(CancelTaskRequest(id=task_id))


async def test_who_waits_for_a_task_is_told_how_it_stands_when_the_server_stops(
    make_app: MakeApp, serve: Serve, http: httpx.AsyncClient
) -> None:
    with serve(make_app()) as served:
        client = await talk_to(served.url, http, "sleeping", streaming=False)
        asking = asyncio.ensure_future(anext(client.send_message(saying("hello"))))
        await until(lambda: any_task(client), "the task is there")
        stopping = begin_to_stop(served)
        task = (await asyncio.wait_for(asking, 15)).task
        assert task.status.state in AT_WORK
        await stopping
    with serve(make_app()) as served:
        client = await talk_to(served.url, http, "sleeping", streaming=False)
        assert (await client.get_task(GetTaskRequest(id=task.id))).status.state in AT_WORK


@pytest.mark.parametrize("wants_progress", [False, True])
async def test_a_call_of_a_tool_ends_with_an_error_that_names_its_run_when_the_server_stops(
    make_app: MakeApp, serve: Serve, http: httpx.AsyncClient, dsn: str, wants_progress: bool
) -> None:
    async def note(progress: float, total: float | None, message: str | None) -> None:
        """Take what is told."""

    with serve(make_app()) as served:
        async with (
            streamable_http_client(f"{served.url}/mcp") as (reader, writer),
            ClientSession(reader, writer) as session,
        ):
            await session.initialize()
            options: dict[str, Any] = {"progress_callback": note} if wants_progress else {}
            call = asyncio.ensure_future(session.call_tool("sleeping", HELLO, **options))
            await until_sleeping_is(dsn, "running")
            stopping = begin_to_stop(served)
            with pytest.raises(MCPError, match=r"The server stops\. Run") as refused:
                await asyncio.wait_for(call, 15)
            await stopping
    path = re.search(r"GET (/threads/\S+)/join", str(refused.value))
    assert path
    with serve(make_app()) as served:
        run = (await http.get(f"{served.url}{path[1]}")).raise_for_status().json()
        assert run["status"] in ("pending", "running")
        (await http.post(f"{served.url}{path[1]}/cancel", params={"wait": "true"})).raise_for_status()
