"""Owns the checking of the calls a model asks for: which are carried out, and what it is told of the others."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, InvalidToolCall, ToolCall, ToolMessage

MAX_PARALLEL = 8
MAX_ARGUMENTS = 20_000
# A call that failed may fail for a moment only; one that succeeded says the same again.
MAX_FAILURES = 2

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class CheckedCalls:
    """A model's reply in a form every model accepts again, the calls to carry out, and the answers to the others."""

    reply: AIMessage
    accepted: list[ToolCall]
    refusals: list[ToolMessage]

    @property
    def is_loop(self) -> bool:
        """Whether the model asked only for what it has already."""
        return bool(self.reply.tool_calls) and not self.accepted and not self.reply.invalid_tool_calls


def check_calls(reply: AIMessage, turn: Sequence[BaseMessage]) -> CheckedCalls:
    """Check a reply's calls against those of the turn so far.

    Calls without an id or a name of their own get one. Refused are arguments that are no JSON object or too long,
    calls past the eighth, and calls that were made already: once if it succeeded, twice if it failed.
    """
    ids = _Ids(message.tool_call_id for message in turn if isinstance(message, ToolMessage))
    named = reply.model_copy(
        update={
            "tool_calls": [_named(call, ids) for call in reply.tool_calls],
            "invalid_tool_calls": [_named_invalid(call, ids) for call in reply.invalid_tool_calls],
        }
    )
    succeeded, failed = _made(turn)
    accepted: list[ToolCall] = []
    refusals = [_refusal(call, _why_invalid(call)) for call in named.invalid_tool_calls]
    for call in named.tool_calls:
        key = _key(call)
        if len(key) > MAX_ARGUMENTS:
            refusals.append(_refusal(call, "The arguments are too long. Call it with less."))
        elif succeeded[key] or failed[key] >= MAX_FAILURES or key in map(_key, accepted):
            refusals.append(_refusal(call, "You made this very call already: use its result, or do something else."))
        elif len(accepted) == MAX_PARALLEL:
            refusals.append(_refusal(call, f"Only {MAX_PARALLEL} calls are carried out at once. Call it again."))
        else:
            accepted.append(call)
    return CheckedCalls(named, accepted, refusals)


class _Ids:
    """Gives each call an id that no other call of the turn has."""

    def __init__(self, taken: Iterator[str]) -> None:
        self._taken = set(taken)

    def own(self, wanted: str | None) -> str:
        """The wanted id if it is free, else a new one."""
        given = wanted if wanted and wanted not in self._taken else f"call_{uuid4().hex}"
        self._taken.add(given)
        return given


def _named(call: ToolCall, ids: _Ids) -> ToolCall:
    return ToolCall(name=_name(call["name"]), args=call["args"], id=ids.own(call["id"]), type="tool_call")


def _named_invalid(call: InvalidToolCall, ids: _Ids) -> InvalidToolCall:
    return {**call, "name": _name(call["name"]), "id": ids.own(call["id"])}


def _name(name: str | None) -> str:
    # Services refuse a conversation in which a name holds anything else.
    return _NOT_IN_NAMES.sub("_", name or "")[:64] or "unnamed"


def _made(turn: Sequence[BaseMessage]) -> tuple[Counter[str], Counter[str]]:
    """The calls of the turn that succeeded, and those that failed."""
    calls = {call["id"]: call for message in turn if isinstance(message, AIMessage) for call in message.tool_calls}
    succeeded: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for message in turn:
        if isinstance(message, ToolMessage) and (call := calls.get(message.tool_call_id)) is not None:
            (failed if message.status == "error" else succeeded)[_key(call)] += 1
    return succeeded, failed


def _key(call: ToolCall) -> str:
    return json.dumps([call["name"], call["args"]], sort_keys=True, default=str)


def _why_invalid(call: InvalidToolCall) -> str:
    arguments = call["error"] or (call["args"] or "")[:200]
    return f"The arguments are not valid JSON: {arguments}. Call it again."


def _refusal(call: ToolCall | InvalidToolCall, text: str) -> ToolMessage:
    return ToolMessage(text, tool_call_id=call["id"] or "", name=call["name"], status="error")
