"""Owns what routes are handed: the engine, the answers, and the parts of the request as typed values.

Every dependency is a coroutine: FastAPI sends others through a thread pool, which costs more than the rest of
the route.
"""

import logging
import re
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import orjson
from fastapi import Depends, Header, Path, Query, Request
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from threadline.api.answers import Answers
from threadline.api.errors import InvalidRequest, invalid_model
from threadline.api.schemas import MAX_OFFSET, MAX_PAGE
from threadline.api.thread_schemas import check_state_field
from threadline.runs.engine import Engine
from threadline.runs.model import JsonObject
from threadline.runs.trace_parent import read_parent

logger = logging.getLogger("threadline.api")

BodyT = TypeVar("BodyT", bound=BaseModel)

INVALID_JSON = "Invalid JSON in request body"

# What the encoder of answers and rows can still write, with room for what is put around an input.
MAX_DEPTH = 200
_NO_MODES: list[str] = []


class JsonBody(Generic[BodyT]):
    """A dependency that reads the body as `model`, past FastAPI's slower way. Raises InvalidRequest."""

    def __init__(self, model: type[BodyT]) -> None:
        self.model = model

    async def __call__(self, request: Request) -> BodyT:
        value = parse_json(await request.body())
        try:
            return self.model.model_validate(value)
        except ValidationError as error:
            raise invalid_model(error, whole="body") from None


def parse_json(text: bytes) -> Any:
    """Return the value of `text`. Raises InvalidRequest."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if "surrogate in string" in str(error):
            raise InvalidRequest(f"{INVALID_JSON}: a \\u escape is half of a surrogate pair: {error}") from None
        raise InvalidRequest(INVALID_JSON) from None
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise InvalidRequest(f"{INVALID_JSON}: it is nested more than {MAX_DEPTH} levels deep")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_is_deeper(item, depth - 1) for item in items)


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _answers(request: Request) -> Answers:
    answers: Answers = request.app.state.answers
    return answers


async def _mode_filter(
    stream_mode: Annotated[list[str], Query(description="Only events of these modes.")] = _NO_MODES,
) -> list[str]:
    """Return the modes, however a client writes a list: the name repeated, with commas, or as JSON."""
    return [mode for text in stream_mode for mode in re.findall(r"[^\s,\"\[\]]+", text)]


async def _state_fields(
    select: Annotated[list[str], Query(description="Only these fields of a state; `values.<key>` for one value.")] = (
        _NO_MODES
    ),
) -> list[str]:
    """Return the names, repeated or with commas between them. Raises InvalidRequest."""
    try:
        return [check_state_field(name) for text in select for name in text.split(",") if name]
    except PydanticCustomError as error:
        raise InvalidRequest(f"select: {error.message()}") from None


async def _trace_parent(request: Request) -> JsonObject | None:
    """Return what to keep of the caller's tracing headers; a parent that is none is left out and counted."""
    tracing = request.app.state.engine.tracing
    if not tracing.takes_parents:
        return None
    try:
        return read_parent(request.headers)
    except ValueError as error:
        tracing.counts.ignored_headers += 1
        logger.info("trace.parent_ignored", extra={"error": str(error)})
        return None


EngineDep = Annotated[Engine, Depends(_engine)]
AnswersDep = Annotated[Answers, Depends(_answers)]
TraceParent = Annotated[JsonObject | None, Depends(_trace_parent)]
StateFields = Annotated[list[str], Depends(_state_fields)]
ModeFilter = Annotated[list[str], Depends(_mode_filter)]

AssistantId = Annotated[str, Path(description="The id of an assistant, or the name of a graph.")]
ThreadId = Annotated[UUID, Path(description="The id of a thread.")]
RunId = Annotated[UUID, Path(description="The id of a run of that thread.")]
CronId = Annotated[UUID, Path(description="The id of a cron.")]
FireId = Annotated[UUID, Path(description="The id of a moment of the cron.")]
WebhookId = Annotated[UUID, Path(description="The id of a webhook, as its header `webhook-id` says.")]
CheckpointId = Annotated[str, Path(description="The id of a checkpoint.")]
Subgraphs = Annotated[bool, Query(description="With the states of subgraphs that are at work.")]
LastEventId = Annotated[str | None, Header(description="The last event already seen; `-` for none.")]
PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most.")]
PageOffset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="How many to leave out first.")]
CancelOnDisconnect = Annotated[bool, Query(description="Cancel the run when this request is cut off.")]
