"""Owns reading a sitting's facts from the database and the file of effects, when everything is over."""

import json
from pathlib import Path
from typing import Any

import orjson

from threadline.tests.faults.clients import Notes
from threadline.tests.faults.database import LabDatabase
from threadline.tests.faults.facts import (
    Checkpoint,
    Effect,
    Event,
    History,
    LogRow,
    RunRow,
    Write,
    canonical,
    comparable,
)

_RUNS = """
    select run_id::text, thread_id::text, status, attempt, end_seq, coalesce(kwargs ->> 'durability', 'async')
    from runs
"""
_HEADS = "select thread_id::text, last_seq from thread_heads"
_LOG = """
    select thread_id::text, first_seq, last_seq, run_id::text, xmin::text::bigint, contents, payload
    from run_events order by thread_id, last_seq
"""
_CHECKPOINTS = """
    select thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata ->> 'source', xmin::text::bigint
    from checkpoints
"""
_WRITES = "select thread_id, task_id, channel, xmin::text::bigint from checkpoint_writes"
_VALUES = 'select thread_id::text, "values" from threads'


async def collect(database: LabDatabase, notes: Notes, effects: Path, calm: dict[str, str]) -> History:
    """Return the history of the sitting."""
    return History(
        accepted=tuple(notes.accepted),
        runs=tuple(RunRow(*row) for row in await database.rows(_RUNS)),
        heads=dict(await database.rows(_HEADS)),
        log=tuple(_read_row(*row) for row in await database.rows(_LOG)),
        received=tuple(notes.received),
        answers=tuple(notes.answers),
        effects=tuple(read_effects(effects)),
        checkpoints=tuple(Checkpoint(*row) for row in await database.rows(_CHECKPOINTS)),
        writes=tuple(Write(*row) for row in await database.rows(_WRITES)),
        values={thread_id: comparable(values) for thread_id, values in await database.rows(_VALUES)},
        calm=calm,
    )


def _read_row(
    thread_id: str, first_seq: int, last_seq: int, run_id: str, transaction: int, contents: Any, payload: bytes
) -> LogRow:
    events = []
    start = 0
    for seq, (name, length, time) in enumerate(contents, first_seq):
        events.append(Event(seq, name, canonical(orjson.loads(payload[start : start + length])), time / 1e6))
        start += length
    return LogRow(thread_id, first_seq, last_seq, run_id, transaction, tuple(events))


def read_effects(file: Path) -> list[Effect]:
    """What nodes left so far."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [Effect(*json.loads(line)) for line in lines]
