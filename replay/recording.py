"""Owns where a stored run lies in the log of its thread; how it is played is `playback`'s."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.errors import CursorTrimmed, RunNotFound
from threadline.runs.model import METADATA

_SQL = load_statements("threadline.replay", "recordings.sql")


@dataclass(frozen=True, slots=True)
class Recording:
    """A run's events: those behind `start_seq` up to `end_seq`, which is None while the run goes on."""

    thread_id: UUID
    run_id: UUID
    start_seq: int
    end_seq: int | None

    def cursor(self, from_seq: int | None) -> int:
        """Return the number behind which to play, so that `from_seq` comes first; without it, all is played."""
        return self.start_seq if from_seq is None else max(self.start_seq, from_seq - 1)


async def find_recording(
    pool: Pool, run_id: UUID, thread_id: UUID | None = None, from_seq: int | None = None
) -> Recording:
    """Return where the run lies, to be played from `from_seq` on.

    A run whose row is gone (rolled back, deleted) is found by its events, if its thread is named. Raises
    RunNotFound, and CursorTrimmed when events from there on are no longer kept.
    """
    parameters = {"run_id": run_id, "thread_id": thread_id}
    row = await _one(pool, "find_run", parameters)
    if row is not None:
        recording, trimmed_seq = Recording(row[0], run_id, row[1], row[2]), row[3]
    else:
        trimmed = await _one(pool, "trimmed_seq", parameters) if thread_id else None
        first = await _one(pool, "find_in_log", parameters) if trimmed else None
        if trimmed is None or first is None:
            raise RunNotFound(run_id)
        recording, trimmed_seq = Recording(first[0], run_id, first[1] - 1, first[4]), trimmed[0]
    if recording.cursor(from_seq) >= trimmed_seq and (row is not None or trimmed_seq == 0):
        return recording
    # The run may have waited in the queue while what is gone was written: then nothing of its own is gone.
    first = await _one(pool, "find_in_log", parameters | {"thread_id": recording.thread_id})
    cursor = recording.cursor(from_seq)
    if first is not None and (cursor >= trimmed_seq or _opens(first)):
        return Recording(recording.thread_id, run_id, first[1] - 1, recording.end_seq)
    raise CursorTrimmed(cursor, trimmed_seq)


def _opens(row: tuple[Any, ...]) -> bool:
    """Whether the row begins with the event that opens a run's first attempt."""
    name, length, _ = row[2][0]
    return name == METADATA and bool(orjson.loads(bytes(row[3])[:length]).get("attempt") == 1)


async def _one(pool: Pool, statement: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
    async with pool.connection() as connection:
        cursor = await connection.execute(_SQL[statement], parameters)
        return await cursor.fetchone()
