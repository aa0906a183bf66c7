"""Owns where two normalised answers differ. Whether a difference is intended is decided by whoever asks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from threadline.tests.contract.normalising import Normal

MISSING = "<missing>"
STOPPED = "stopped"  # the call in whose place a scenario came to an end before its time


@dataclass(frozen=True)
class Difference:
    """One place where the reference's answer and ours are not the same."""

    scenario: str
    call: str
    where: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.scenario} {self.call} {self.where}: theirs {_shown(self.theirs)}, ours {_shown(self.ours)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 300 else text[:300] + "..."


def compare(scenario: str, theirs: list[Normal], ours: list[Normal]) -> Iterator[Difference]:
    """Yield the differences of a scenario's calls; what was sent must be the same."""
    for number, (their, our) in enumerate(zip(theirs, ours, strict=False), 1):
        if our["call"] == STOPPED:
            yield Difference(scenario, their["call"], "stopped", None, our["body"])
            return
        call = f"#{number} {our['call']}"
        for where, one, other in _differences_of_calls(their, our):
            yield Difference(scenario, call, where, one, other)
    if len(theirs) != len(ours):
        yield Difference(scenario, "all", "calls", [each["call"] for each in theirs], [each["call"] for each in ours])


Found = Iterator[tuple[str, Any, Any]]


def _differences_of_calls(theirs: Normal, ours: Normal) -> Found:
    if theirs["call"] != ours["call"]:
        yield "call", theirs["call"], ours["call"]
        return
    if theirs["status"] != ours["status"]:
        yield "status", _summary(theirs), _summary(ours)
        return
    for part in ("sent", "headers", "body", "raised"):
        yield from _differences(part, theirs.get(part), ours.get(part))
    their_names, our_names = _names(theirs), _names(ours)
    if their_names != our_names:
        yield "events", their_names, our_names
    else:
        yield from _differences("events", theirs.get("events"), ours.get("events"))


def _summary(normal: Normal) -> str:
    return f"{normal['status']} {str(normal.get('body', ''))[:200]}".strip()


def _names(normal: Normal) -> list[str] | None:
    events = normal.get("events")
    return None if events is None else [event.get("event", "") for event in events]


def _differences(where: str, theirs: Any, ours: Any) -> Found:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs | ours):
            yield from _differences(f"{where}.{key}", theirs.get(key, MISSING), ours.get(key, MISSING))
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for at, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from _differences(f"{where}[{at}]", one, other)
    elif theirs != ours or type(theirs) is not type(ours):
        yield where, theirs, ours
