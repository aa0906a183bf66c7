"""Owns the question to a person before something is changed, and the reading of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from langgraph.types import interrupt


class Verdict(StrEnum):
    """What a person may decide."""

    APPROVE = "approve"
    REJECT = "reject"
    EDIT = "edit"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's verdict, the arguments to act with, and why they rejected it if they said so."""

    verdict: Verdict
    args: Mapping[str, str]
    reason: str | None = None


class _NotUnderstood(ValueError):
    """The answer is no decision; the message says what one looks like."""


def ask_approval(action: str, args: Mapping[str, str]) -> Decision:
    """Interrupt the run until a person decides about `action`; an answer that is no decision is asked for again.

    The interrupt's value has `action`, `args`, `options`, and `problem` when it is asked again. The run is
    resumed with True, False, "approve", "reject" or {"type": "approve" | "reject" | "edit", "args": {...}}.
    """
    value: dict[str, Any] = {"action": action, "args": dict(args), "options": [verdict.value for verdict in Verdict]}
    while True:
        answer = interrupt(value)
        try:
            return _read(answer, args)
        except _NotUnderstood as problem:
            value = {**value, "problem": str(problem)}


def _read(answer: object, args: Mapping[str, str]) -> Decision:
    if isinstance(answer, bool):
        return Decision(Verdict.APPROVE if answer else Verdict.REJECT, args)
    details: Mapping[str, Any] = answer if isinstance(answer, Mapping) else {"type": answer}
    kind = details.get("type")
    if not isinstance(kind, str) or kind.strip().lower() not in set(Verdict):
        raise _NotUnderstood('answer true, false, "approve", "reject" or {"type": "edit", "args": {...}}')
    verdict = Verdict(kind.strip().lower())
    if verdict is Verdict.EDIT:
        return Decision(verdict, {**args, **_edited(details.get("args"), args)})
    reason = details.get("reason", details.get("message"))
    return Decision(verdict, args, reason if isinstance(reason, str) else None)


def _edited(changes: object, args: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(changes, Mapping) or not changes:
        raise _NotUnderstood('an edit needs its new values: {"type": "edit", "args": {...}}')
    for name, value in changes.items():
        if name not in args or not isinstance(value, str) or not value.strip():
            raise _NotUnderstood(f"an edit may change {', '.join(args)}, each to a text that is not empty")
    return changes
