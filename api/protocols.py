"""Owns the routes of the two protocols that agents speak with each other: MCP, where assistants are tools, and A2A.

What is said there is `api.mcp`'s and `api.a2a`'s, with the official SDKs. Those take a second to import, which only
a process that is asked pays, in a thread, so that its streams go on.
"""

import asyncio
from importlib import import_module
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from threadline.api.dependencies import AssistantId, EngineDep, TraceParent, parse_json
from threadline.api.errors import ContradictoryRequest, InvalidRequest
from threadline.api.responses import JsonResponse
from threadline.runs.model import Assistant, JsonObject

router = APIRouter(tags=["Agents"])

PARSE_ERROR = -32700
MESSAGE: JsonObject = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["jsonrpc", "method"],
                "properties": {
                    "jsonrpc": {"const": "2.0"},
                    "id": {"type": ["string", "integer", "null"]},
                    "method": {"type": "string"},
                    "params": {"type": "object"},
                },
            }
        }
    },
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A JSON-RPC answer, or a stream of them",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
    },
}
MCP_ANSWERS = ANSWERS | {
    202: {"description": "A notification was taken"},
    400: {"description": "A JSON-RPC error", "content": {"application/json": {"schema": {"type": "object"}}}},
}


@router.post("/mcp", summary="Call assistants as tools", responses=MCP_ANSWERS, openapi_extra={"requestBody": MESSAGE})
@router.post("/mcp/", include_in_schema=False)
async def answer_mcp(request: Request, parent: TraceParent) -> Response:
    """Answer a message of the Model Context Protocol: streamable HTTP, without sessions."""
    body = await request.body()
    try:
        message = parse_json(body)
    except InvalidRequest as error:
        return _unreadable(error, 400)
    return _ToolAnswer(request, message, body, parent)


@router.post(
    "/a2a/{assistant_id}",
    summary="Talk to an assistant as an agent",
    responses=ANSWERS,
    openapi_extra={"requestBody": MESSAGE},
)
async def answer_a2a(assistant_id: AssistantId, request: Request, parent: TraceParent) -> Response:
    """Answer a message of A2A, in the words of its version 1.0 or 0.3."""
    try:
        message = parse_json(await request.body())
    except InvalidRequest as error:
        return _unreadable(error, 200)
    answer: Response = await (await _agents(request)).answer(request, message, parent)
    return answer


@router.get("/a2a/{assistant_id}", include_in_schema=False)
@router.get("/a2a/{assistant_id}/.well-known/agent-card.json", summary="Get an assistant's agent card")
async def get_card_of(assistant_id: AssistantId, request: Request, engine: EngineDep) -> Response:
    """Answer with the card that introduces the assistant to other agents."""
    return await _card(request, await engine.assistants.get(assistant_id))


@router.get("/.well-known/agent-card.json", summary="Get an agent card")
async def get_card(
    request: Request,
    engine: EngineDep,
    assistant_id: Annotated[
        str | None,
        Query(description="The id of an assistant, or the name of a graph; without it, the only one there is."),
    ] = None,
) -> Response:
    """Answer with the card of an assistant."""
    graphs = [name for name in engine.registry.graph_ids if name not in engine.registry.errors]
    if assistant_id is None and len(graphs) != 1:
        raise ContradictoryRequest(f"Say which agent: ?assistant_id= one of {', '.join(graphs)}, or an assistant's id")
    return await _card(request, await engine.assistants.get(assistant_id or graphs[0]))


async def _card(request: Request, assistant: Assistant) -> Response:
    address = f"{str(request.base_url).rstrip('/')}/a2a/{assistant.assistant_id}"
    return JsonResponse(await (await _agents(request)).card(assistant, address))


async def _agents(request: Request) -> Any:
    return await _served(request.app, "threadline.api.a2a.server", "AgentServer")


class _ToolAnswer(Response):
    """What the tool server sends."""

    def __init__(self, request: Request, message: Any, body: bytes, parent: JsonObject | None) -> None:
        super().__init__()
        self._app = request.app
        self._told = (message, body, parent)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        server = await _served(self._app, "threadline.api.mcp.server", "ToolServer")
        await server.answer(*self._told, scope, receive, send)


async def _served(app: Any, module: str, name: str) -> Any:
    """Return what answers a protocol, made with the first request."""
    servers: dict[str, Any] = app.state.protocols
    if name not in servers:
        made = getattr(await asyncio.to_thread(import_module, module), name)
        servers.setdefault(name, made(app.state.engine, app.state.stopping))
    return servers[name]


def _unreadable(error: InvalidRequest, status: int) -> Response:
    message = {"jsonrpc": "2.0", "id": None, "error": {"code": PARSE_ERROR, "message": str(error)}}
    return JsonResponse(message, status)
