"""Owns the form of the event-streaming protocol's commands and of their answers; what commands do lives elsewhere."""

import logging
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from threadline.api.errors import RequestError, known_error
from threadline.runs.errors import CheckpointNotFound, Invalid, NotFound, RunError
from threadline.runs.model import JsonObject

logger = logging.getLogger("threadline.protocol")

INVALID = "invalid_argument"
ENVELOPE = "Protocol commands must include an integer id and string method."


class CommandRefused(Exception):
    """A command cannot be carried out; `code` is one of the protocol's words for why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent for a command. `malformed` says that it was none at all."""

    content: JsonObject
    meta: JsonObject = field(default_factory=dict)
    malformed: bool = False

    @property
    def full(self) -> JsonObject:
        """The answer with its meta; a refusal that comes before any event has none."""
        has_news = self.content["type"] == "success" or bool(self.meta.get("applied_through_seq"))
        return {**self.content, "meta": self.meta} if has_news and not self.malformed else self.content


@dataclass(frozen=True, slots=True)
class Command:
    """What a client asks for, under a number of its own."""

    id: int
    method: str
    params: JsonObject

    def succeed(self, result: JsonObject, **meta: Any) -> Answer:
        """Return the answer of a command that was carried out."""
        return Answer({"type": "success", "id": self.id, "result": result}, meta)


def refusal(command_id: Any, error: CommandRefused, *, malformed: bool = False) -> Answer:
    """Return the answer of a command that was not carried out."""
    content = {"type": "error", "id": command_id, "error": error.code, "message": str(error)}
    return Answer(content, malformed=malformed)


def read_command(given: Any) -> Command | Answer:
    """Return the command that a client sent, or the answer to what is none."""
    value: JsonObject = given if isinstance(given, dict) else {}
    number, method, params = value.get("id"), value.get("method"), value.get("params")
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(method, str):
        shown = number if isinstance(number, str | int) else None
        return refusal(shown, CommandRefused(INVALID, ENVELOPE), malformed=True)
    if params is not None and not isinstance(params, dict):
        return refusal(number, CommandRefused(INVALID, f"The params of {method} must be an object."))
    return Command(number, method, params or {})


def refused(error: RequestError | RunError | TypeError) -> CommandRefused:
    """Return, in the protocol's words, why a command failed; what a client cannot know better is `unknown_error`."""
    match error:
        case CheckpointNotFound():
            return CommandRefused("no_such_checkpoint", str(error))
        case NotFound():
            return CommandRefused("no_such_run", str(error))
        case Invalid() | RequestError() | TypeError():
            return CommandRefused(INVALID, str(error))
    response = known_error(error)
    status = f"{response.status_code}: " if response is not None else ""
    return CommandRefused("unknown_error", f"{status}{error}")


def read_id(value: Any, name: str = "run_id") -> UUID:
    """Return the id that a client gives. Raises CommandRefused."""
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise CommandRefused(INVALID, f"{name} must be a UUID.") from None
