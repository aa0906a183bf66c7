"""Owns the conversation of the Model Context Protocol over streamable HTTP, by the official SDK; without sessions.

Each request stands for itself, so any process may answer it. An answer is JSON; one that reports progress is a
stream of events, to a client that asked for progress.
"""

import asyncio
import logging
from importlib.metadata import version
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from starlette.types import Message, Receive, Scope, Send

from threadline.api.departures import Departure, Presence, Stopping, cut
from threadline.api.mcp import calls
from threadline.api.mcp.farewell import Told
from threadline.api.mcp.tools import Toolbox
from threadline.graphs.auth import Refused
from threadline.runs.engine import Engine
from threadline.runs.errors import NotFound, RunError
from threadline.runs.model import CancelAction, JsonObject, Run

# One line per request at INFO says nothing that the request's own does not.
logging.getLogger("mcp").setLevel(logging.WARNING)

LAST_REPORTS = 5.0  # seconds that the last steps may be told behind the end

_RUN = "threadline.mcp.run"
_PARENT = "threadline.mcp.parent"
_ACCEPTED = (b"accept", b"application/json, text/event-stream")


class ToolServer:
    """Serves the assistants of an engine as tools."""

    def __init__(self, engine: Engine, stopping: Stopping) -> None:
        self._engine = engine
        self._stopping = stopping
        self._toolbox = Toolbox(engine)
        self._server: Server[Any] = Server(
            "Threadline",
            version=version("threadline"),
            instructions="Each tool is an assistant. A call runs it once and returns what it leaves.",
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )

    async def answer(
        self, message: Any, body: bytes, parent: JsonObject | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer the request whose body, read already, is `message`.

        A run that is waited for is cancelled when the client goes away: nobody could ask for its result again. When
        the server stops the client is told which run goes on.
        """
        # Whatever a client says it accepts: the SDK would refuse one that leaves the header out.
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
        scope = {**scope, "headers": [*headers, _ACCEPTED], _PARENT: parent, _RUN: []}
        manager = StreamableHTTPSessionManager(
            self._server,
            json_response=not _wants_progress(message),
            stateless=True,
            max_request_body_size=max(1, len(body)),  # how large one may be was decided before it was read
        )
        told = Told(send)
        async with Presence(receive, self._stopping) as presence, manager.run():
            await manager.handle_request(scope, _Replay(body), told)
        if presence.departure is Departure.SHUTDOWN:
            if not await told.end(message, scope[_RUN]):
                await cut(scope, receive)
        elif presence.departure is Departure.CLIENT:
            for run in scope[_RUN]:
                await self._cancel(run)

    async def _list_tools(
        self, context: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        try:
            return ListToolsResult(tools=[tool async for tool in self._toolbox.tools()])
        except (RunError, Refused) as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None

    async def _call_tool(
        self, context: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        try:
            return await self._call(context, params)
        except (RunError, Refused) as error:
            return calls.failure(str(error))

    async def _call(self, context: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> CallToolResult:
        found = await self._toolbox.find(params.name)
        if found is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        tool, assistant = found
        scope = context.request.scope if context.request is not None else {}
        run = await calls.start(self._engine, assistant, tool, params.arguments or {}, scope.get(_PARENT))
        if isinstance(run, CallToolResult):
            return run
        scope.get(_RUN, []).append(run)
        if not _has_token(context.meta):
            return await calls.finish(self._engine, run, tool)
        reporter = asyncio.create_task(calls.report(context, self._engine, run), name=f"mcp/{run.run_id}")
        try:
            result = await calls.finish(self._engine, run, tool)
            await asyncio.wait({reporter}, timeout=LAST_REPORTS)
            return result
        finally:
            reporter.cancel()

    async def _cancel(self, run: Run) -> None:
        try:
            await self._engine.queue.cancel(run.thread_id, run.run_id, CancelAction.INTERRUPT)
        except NotFound:
            return  # it has ended in the meantime


class _Replay:
    """A body that was read already, and then nothing: who listens for the client's leaving is `Presence`."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def __call__(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _wants_progress(message: Any) -> bool:
    params = message.get("params") if isinstance(message, dict) else None
    return isinstance(params, dict) and _has_token(params.get("_meta"))


def _has_token(meta: Any) -> bool:
    return isinstance(meta, dict) and (meta.get("progressToken") is not None or meta.get("progress_token") is not None)
