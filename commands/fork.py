"""Owns `threadline fork`: a new thread that begins where another one was."""

from collections.abc import Sequence
from uuid import UUID

from threadline.commands.looking_back import open_past
from threadline.commands.stopping import run_until_stopped
from threadline.replay.fork import fork, parse_edits
from threadline.settings import Settings


def fork_thread(settings: Settings, thread_id: UUID, checkpoint_id: str | None, edits: Sequence[str]) -> None:
    """Make the fork, and print the id of its thread. Raises CommandFailed."""
    run_until_stopped(_fork(settings, thread_id, checkpoint_id, edits))


async def _fork(settings: Settings, thread_id: UUID, checkpoint_id: str | None, edits: Sequence[str]) -> None:
    async with open_past(settings) as pool:
        made = await fork(pool, thread_id, checkpoint_id, parse_edits(edits))
    print(made.thread_id)
