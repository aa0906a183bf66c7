"""Owns the file that a history is kept in, from which it can be read and judged again."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from threadline.tests.faults.facts import (
    Accepted,
    Answer,
    Checkpoint,
    Effect,
    Event,
    History,
    LogRow,
    Received,
    RunRow,
    Write,
)


def write(history: History, file: Path) -> None:
    """Write it as JSON: by their kind, the facts with their fields named."""
    facts = {name: getattr(history, name) for name in History.__dataclass_fields__}
    file.write_bytes(orjson.dumps(facts, default=_name_fields, option=orjson.OPT_PASSTHROUGH_DATACLASS))


def _name_fields(fact: Any) -> dict[str, Any]:
    """The fields of a fact by their names."""
    if isinstance(fact, Accepted):
        return asdict(fact)
    named: dict[str, Any] = fact._asdict()
    return named


def read(file: Path) -> History:
    """Read what `write` wrote."""
    facts = orjson.loads(file.read_bytes())
    return History(
        accepted=tuple(Accepted(**fact) for fact in facts["accepted"]),
        runs=tuple(RunRow(**fact) for fact in facts["runs"]),
        heads=facts["heads"],
        log=tuple(LogRow(**{**fact, "events": _read_events(fact)}) for fact in facts["log"]),
        received=tuple(Received(**{**fact, "events": _read_events(fact)}) for fact in facts["received"]),
        answers=tuple(Answer(**fact) for fact in facts["answers"]),
        effects=tuple(Effect(**fact) for fact in facts["effects"]),
        checkpoints=tuple(Checkpoint(**fact) for fact in facts["checkpoints"]),
        writes=tuple(Write(**fact) for fact in facts["writes"]),
        values=facts["values"],
        calm=facts["calm"],
    )


def _read_events(fact: dict[str, Any]) -> tuple[Event, ...]:
    return tuple(Event(**event) for event in fact["events"])
