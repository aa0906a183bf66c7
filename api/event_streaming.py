"""Owns the routes of the event-streaming protocol: commands, and a thread's events as a stream or over a WebSocket."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, WebSocket
from starlette.responses import Response

from threadline.api.dependencies import AnswersDep, EngineDep, JsonBody, ThreadId, parse_json
from threadline.api.errors import InvalidRequest, error_response, invalid_id
from threadline.api.event_socket import EventSocket
from threadline.api.protocol_answers import Answer, read_command
from threadline.api.protocol_commands import Commands
from threadline.api.protocol_schemas import EventStreamRequest, ProtocolCommand
from threadline.api.responses import JsonResponse
from threadline.api.routing import DirectRoute
from threadline.runs.channels import read_filter, read_number
from threadline.runs.encoding import encode
from threadline.runs.errors import Invalid

router = APIRouter(prefix="/threads/{thread_id}", tags=["Event streaming"], route_class=DirectRoute)

REFUSED = 4422  # 4000 plus the status, which is how a client reads one here
NO_JSON = "Invalid JSON body"


class _Text(JsonBody[Any]):
    """Hands the body over unread: what is wrong with it is said in the protocol's own words."""

    async def __call__(self, request: Request) -> bytes:
        return await request.body()


CommandText = Annotated[bytes, Depends(_Text(ProtocolCommand))]
FilterText = Annotated[bytes, Depends(_Text(EventStreamRequest))]


@router.post("/commands", summary="Send a command of the event-streaming protocol")
async def send_command(thread_id: ThreadId, text: CommandText, engine: EngineDep) -> Response:
    """Start, answer, cancel and inspect runs; a thread that does not exist is created by its first run."""
    try:
        command = read_command(parse_json(text))
    except InvalidRequest:
        return error_response(400, NO_JSON)
    answer = command if isinstance(command, Answer) else await Commands(engine).run(thread_id, command)
    answer.meta.setdefault("applied_through_seq", 0)
    return JsonResponse(answer.full, 400 if answer.malformed else 200)


@router.post(
    "/stream/events",
    summary="Follow a thread's events",
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def follow_events(thread_id: ThreadId, text: FilterText, answers: AnswersDep) -> Response:
    """Answer with server-sent events of all the thread's runs, from its first or behind `since`, without an end."""
    try:
        given = parse_json(text)
    except InvalidRequest:
        return error_response(400, NO_JSON)
    given = given if isinstance(given, dict) else {}
    try:
        return answers.events(thread_id, read_filter(given), read_number(given, "since") or 0)
    except Invalid as error:
        return error_response(400, str(error))


@router.websocket("/stream/events")
async def follow_socket(socket: WebSocket, thread_id: str) -> None:
    """Take commands and subscriptions, and send answers and events."""
    state = socket.app.state
    try:
        known = UUID(thread_id)
    except ValueError:
        await socket.accept()
        reason = str(invalid_id("thread_id"))
        failure = {"type": "error", "id": None, "error": "invalid_argument", "message": reason}
        await socket.send_text(encode(failure).decode())
        await socket.close(REFUSED, reason)
        return
    await EventSocket(socket, known, state.engine, state.stopping).serve()
