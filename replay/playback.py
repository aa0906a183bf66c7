"""Owns the playing of a recording, event by event at its pace; a run that still goes on is then followed live.

Events come from the log alone: nothing is executed, and nothing is written.
"""

import asyncio
from collections.abc import AsyncIterator

from threadline.replay.pace import Pace
from threadline.replay.recording import Recording
from threadline.runs.model import RUN_ENDED, LogEvent
from threadline.runs.tails import Tails

PATIENCE = 60.0  # seconds between two looks at a run that says nothing


async def play(tails: Tails, recording: Recording, after: int, pace: Pace) -> AsyncIterator[LogEvent]:
    """Yield the run's events behind number `after` when they are due, internal ones included.

    `tails` must be running. Raises CursorTrimmed, ThreadNotFound, or ThreadGone when the thread is deleted meanwhile.
    """
    now = asyncio.get_running_loop().time
    if recording.end_seq is not None and after >= recording.end_seq:
        return
    async with tails.follow(recording.thread_id, after) as subscription:
        while True:
            for row in await subscription.next_rows(PATIENCE):
                for event in row.events(after):
                    if event.run_id == recording.run_id:
                        if (wait := pace.wait(event.time, now())) > 0:
                            await asyncio.sleep(wait)
                        yield event
                        if event.name == RUN_ENDED:
                            return
                if recording.end_seq is not None and row.last_seq >= recording.end_seq:
                    return
