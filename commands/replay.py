"""Owns `threadline replay`: a stored run played again on standard output, one line for each event."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from threadline.commands.exits import CommandFailed, ExitCode
from threadline.commands.looking_back import open_past
from threadline.commands.stopping import run_until_stopped
from threadline.replay.pace import Pace, read_speed
from threadline.replay.playback import play
from threadline.replay.recording import Recording, find_recording
from threadline.runs.errors import Invalid
from threadline.runs.tails import Tails
from threadline.settings import Settings

# Of a run that still goes on, this is how late its events are shown at worst.
_POLL = timedelta(seconds=0.2)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events of which run. With `internal` those that the log keeps for itself as well."""

    run_id: UUID
    thread_id: UUID | None
    from_seq: int | None
    internal: bool


def make_pace(speed: str, max_gap: float) -> Pace:
    """Return the pace that was asked for; `max_gap` is in seconds. Raises CommandFailed."""
    try:
        return Pace(read_speed(speed), max(0.0, max_gap))
    except Invalid as error:
        raise CommandFailed(str(error), ExitCode.MISUSED) from None


def replay(settings: Settings, selection: Selection, pace: Pace) -> None:
    """Print the events of the run when they are due: number, name and data. Raises CommandFailed."""
    run_until_stopped(_replay(settings, selection, pace))


async def _replay(settings: Settings, selection: Selection, pace: Pace) -> None:
    async with open_past(settings) as pool:
        recording = await find_recording(pool, selection.run_id, selection.thread_id, selection.from_seq)
        tails = Tails(pool, _POLL)
        after = min(recording.cursor(selection.from_seq), await tails.last_seq(recording.thread_id))
        reading = asyncio.create_task(tails.run(), name="tails")
        playing = asyncio.create_task(_print(tails, recording, after, pace, internal=selection.internal), name="replay")
        try:
            await asyncio.wait({reading, playing}, return_when=asyncio.FIRST_COMPLETED)
            await (playing if playing.done() else reading)
        finally:
            for task in (reading, playing):
                task.cancel()
            await asyncio.gather(reading, playing, return_exceptions=True)


async def _print(tails: Tails, recording: Recording, after: int, pace: Pace, *, internal: bool) -> None:
    async for event in play(tails, recording, after, pace):
        if internal or not event.name.startswith("."):
            print(f"{event.seq}  {event.name.removeprefix('.')}  {bytes(event.data).decode()}", flush=True)
