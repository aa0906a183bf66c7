"""Owns the way of an agent's request to the official SDK and back, in both versions of the protocol."""

from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.utils.constants import PROTOCOL_VERSION_0_3, PROTOCOL_VERSION_1_0, VERSION_HEADER
from starlette.requests import Request
from starlette.responses import Response

from threadline.api.a2a.card import introduce
from threadline.api.a2a.requests import AgentRequests
from threadline.api.conversation import takes_messages
from threadline.api.departures import Stopping
from threadline.runs.engine import Engine
from threadline.runs.errors import Invalid
from threadline.runs.interfaces import Interfaces
from threadline.runs.model import Assistant, JsonObject

_VERSION = "threadline.a2a.version"
_PARENT = "threadline.a2a.parent"


class AgentServer:
    """Serves the assistants of an engine as agents."""

    def __init__(self, engine: Engine, stopping: Stopping) -> None:
        self._interfaces = Interfaces(engine.registry, engine.store)
        requests = AgentRequests(engine, stopping, self._interfaces)
        self._dispatcher = JsonRpcDispatcher(requests, _Contexts(), enable_v0_3_compat=True)

    async def answer(self, request: Request, message: Any, parent: JsonObject | None) -> Response:
        """Answer a JSON-RPC request, whose body is `message`, to the assistant that the path names."""
        request.scope[_VERSION], request.scope[_PARENT] = _version(message), parent
        response: Response = await self._dispatcher.handle_requests(request)
        return response

    async def card(self, assistant: Assistant, url: str) -> JsonObject:
        """Return the assistant's card. Raises Invalid for one that cannot be talked to."""
        if not takes_messages((await self._interfaces.of(assistant)).input):
            raise Invalid(
                f"Assistant {assistant.name} is no agent: the input of its graph must include a 'messages' field."
            )
        return introduce(assistant, url)


class _Contexts(DefaultServerCallContextBuilder):
    """Tells a method who is spoken to, besides what the SDK tells it."""

    def build(self, request: Request) -> ServerCallContext:
        """Return the context of a request."""
        context = super().build(request)
        headers: dict[str, Any] = context.state["headers"]
        # Without the header the SDK takes a request for one of the old version, whatever its method is called.
        headers.setdefault(VERSION_HEADER.lower(), request.scope[_VERSION])
        context.state["assistant_id"] = request.path_params["assistant_id"]
        context.state["trace_parent"] = request.scope[_PARENT]
        return context


def _version(message: Any) -> str:
    """Return the version of the protocol whose name the method has."""
    method = message.get("method") if isinstance(message, dict) else None
    return PROTOCOL_VERSION_0_3 if isinstance(method, str) and "/" in method else PROTOCOL_VERSION_1_0
