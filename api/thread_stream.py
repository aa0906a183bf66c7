"""Owns the stream of a whole thread: the events of all its runs, one behind the other, and of its state's changes.

It ends with the thread, or when the client has had enough. Numbers, order and payloads are the log's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum

import orjson
from starlette.types import Send

from threadline.api.stream import HEARTBEAT, RunFrames, RunStream, error_frame, event_prefix
from threadline.runs.encoding import encode
from threadline.runs.errors import NotFound, RunError
from threadline.runs.model import METADATA, RUN_ENDED, STATE_UPDATED, JsonObject, LogRow
from threadline.runs.state_updates import NO_RUN
from threadline.runs.subscription import Subscription

ReadState = Callable[[JsonObject], Awaitable[JsonObject]]


class ThreadStreamMode(StrEnum):
    """What to show of a thread: its runs' events, only their beginnings and ends, changes of its state."""

    RUN_MODES = "run_modes"
    LIFECYCLE = "lifecycle"
    STATE_UPDATE = "state_update"


class ThreadFrames(RunFrames):
    """Turns rows of a thread's log into frames. `read_state` returns the state at a checkpoint."""

    def __init__(self, after: int, modes: Iterable[ThreadStreamMode], read_state: ReadState) -> None:
        super().__init__(NO_RUN, after)  # of all runs: which is in each row
        self._modes = frozenset(modes)
        self._read_state = read_state

    async def frame_rows(self, rows: Iterable[LogRow]) -> bytes:
        """Return the frames of `rows`, one behind the other; nothing when none is shown."""
        parts: list[bytes] = []
        for row in rows:
            for seq, run_id, name, data, _ in row.events(self._after):
                shown = await self._show(str(run_id), name, data)
                if shown is not None:
                    parts.append(b"%b%b\r\nid: %d\r\n\r\n" % (*shown, seq))
        return b"".join(parts)

    async def _show(self, run_id: str, name: str, data: bytes) -> tuple[bytes, bytes] | None:
        shows_ends = not self._modes.isdisjoint((ThreadStreamMode.RUN_MODES, ThreadStreamMode.LIFECYCLE))
        if name == RUN_ENDED and shows_ends:
            return event_prefix(METADATA), encode({"status": "run_done", "run_id": run_id})
        if name == STATE_UPDATED and ThreadStreamMode.STATE_UPDATE in self._modes:
            return await self._show_state(orjson.loads(data))
        if name.startswith("."):
            return None
        if ThreadStreamMode.RUN_MODES in self._modes or (name == METADATA and shows_ends):
            return event_prefix(name), data
        return None

    async def _show_state(self, update: JsonObject) -> tuple[bytes, bytes] | None:
        checkpoint = update["checkpoint"]
        try:
            state = await self._read_state(checkpoint)
        except NotFound:
            return None  # pruned meanwhile
        return event_prefix("state_update"), encode({"state": state, "thread_id": checkpoint["thread_id"]})


class ThreadStream(RunStream):
    """The events of a thread, without an end of its own."""

    _frames: ThreadFrames

    async def _send_events(self, subscription: Subscription, send: Send) -> None:
        now = asyncio.get_running_loop().time
        due = now() + self._heartbeat
        has_more = True
        while has_more:
            try:
                rows = await subscription.next_rows(max(0.0, due - now()))
                chunk = await self._frames.frame_rows(rows)
            except RunError as error:
                chunk, has_more = error_frame(error), False
            if not chunk and has_more and now() < due:
                continue
            await send({"type": "http.response.body", "body": chunk or HEARTBEAT, "more_body": has_more})
            due = now() + self._heartbeat
