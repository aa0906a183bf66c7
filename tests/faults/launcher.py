"""Owns the start of `threadline` for the fault laboratory: with a wall clock that can be set, and without a guard.

`python -m threadline.tests.faults.launcher worker ...`. What the variables below ask for is done to this process; the
product itself knows nothing of them.
"""

import mmap
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from threadline.checkpoints import run_saver, writer
from threadline.checkpoints.buffer import Entry, RunBuffer
from threadline.checkpoints.journal import Journal
from threadline.checkpoints.statements import load_statements, make_positional

WITHOUT = "FAULTS_WITHOUT"  # the guard that this process does without
CLOCK = "FAULTS_CLOCK"  # the file that says by how many seconds its wall clock is wrong

_OFFSET = struct.Struct("d")


def write_offset(file: Path, seconds: float) -> None:
    """Set the clock of the process that was started with this file."""
    with file.open("r+b" if file.exists() else "wb") as clock:
        clock.write(_OFFSET.pack(seconds))


def follow_clock(file: Path) -> None:
    """Have this process's wall clock wrong by what the file says at any moment."""
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + _OFFSET.unpack(offset)[0]
    time.time_ns = lambda: now_ns() + int(_OFFSET.unpack(offset)[0] * 1e9)


def without_fence() -> None:
    """Let a run write that has lost its thread."""
    fence = "m on h.thread_id = m.thread_id and h.run_id = m.run_id and h.epoch = m.epoch"
    _change_flush((fence, "m on h.thread_id = m.thread_id"))


def without_numbering() -> None:
    """Number events by what the log shows, and lock nothing for it."""
    newest = "(select coalesce(max(e.last_seq), 0) from run_events e where e.thread_id = h.thread_id)"
    _change_flush(
        ("order by h.thread_id\n    for no key update of h\n", ""),
        ("set last_seq = h.last_seq + head.events", f"set last_seq = {newest} + head.events"),
    )


def without_writer_row() -> None:
    """Send a batch again whose answer was lost, without asking whether it was committed."""

    async def forget(self: Journal, connection: Any) -> bool:
        return False

    Journal._was_committed = forget  # type: ignore[method-assign]  # the guard that is taken away


def without_event_with_write() -> None:
    """Commit what reports a write apart from it."""

    def add_event_alone(self: RunBuffer, name: str, data: bytes, *, bound: bool = False) -> None:
        entry = Entry()
        entry.add_event(name, data)
        self.add(entry)

    def take_one(self: RunBuffer, max_bytes: int, max_rows: int) -> tuple[list[Entry], int, int]:
        return take(self, 0, 1)

    take = RunBuffer.take
    RunBuffer.add_event = add_event_alone  # type: ignore[method-assign]  # the guard that is taken away
    RunBuffer.take = take_one  # type: ignore[method-assign]  # what is not one entry is not one commit by luck either


def without_floor() -> None:
    """Mint checkpoint ids by the clock alone."""
    vars(run_saver)["raise_checkpoint_floor"] = lambda checkpoint_id: None


GUARDS: Mapping[str, Callable[[], None]] = {
    "fence": without_fence,
    "numbering": without_numbering,
    "writer row": without_writer_row,
    "event with write": without_event_with_write,
    "floor": without_floor,
}


def _change_flush(*changes: tuple[str, str]) -> None:
    text: Any = load_statements("threadline.checkpoints", "flush.sql")["flush"]
    for guard, instead in changes:
        if guard not in text:
            raise SystemExit(f"the flush has another guard now: adapt the launcher to it, {guard!r} is gone")
        text = text.replace(guard, instead)
    writer._FLUSH = make_positional(text)


def main() -> int:
    """Be the `threadline` command, changed as asked."""
    if file := os.environ.get(CLOCK):
        follow_clock(Path(file))
    if guard := os.environ.get(WITHOUT):
        GUARDS[guard]()
    from threadline.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
