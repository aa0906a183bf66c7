"""Owns a replayed run on the wire: the frames of its live stream, sent when they are due."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.types import Send

from threadline.api.departures import Stopping
from threadline.api.stream import HEARTBEAT, RunFrames, RunStream, error_frame
from threadline.replay.pace import Pace
from threadline.runs.errors import RunError
from threadline.runs.model import LogRow
from threadline.runs.subscription import Subscription


class ReplayStream(RunStream):
    """The events of one run up to number `end_seq`, or to its end, each when it is due."""

    def __init__(
        self,
        tail: AbstractAsyncContextManager[Subscription],
        frames: RunFrames,
        pace: Pace,
        end_seq: int | None,
        *,
        heartbeat: float,
        stopping: Stopping,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(tail, frames, heartbeat=heartbeat, stopping=stopping, headers=headers)
        self._pace = pace
        self._end_seq = end_seq

    async def _send_events(self, subscription: Subscription, send: Send) -> None:
        has_more = True
        while has_more:
            try:
                rows = await subscription.next_rows(self._heartbeat)
                has_more = await self._send_rows(rows, send) if rows else await self._send(send, HEARTBEAT)
            except RunError as error:
                has_more = await self._send(send, error_frame(error), has_more=False)

    async def _send_rows(self, rows: Iterable[LogRow], send: Send) -> bool:
        for row in rows if self._pace.speed is None else _single(rows):
            chunk = self._frames.frames([row])
            if chunk:
                await self._await_due(row, send)
            has_more = not self._frames.has_ended and (self._end_seq is None or row.last_seq < self._end_seq)
            if chunk or not has_more:
                await self._send(send, chunk, has_more=has_more)
            if not has_more:
                return False
        return True

    async def _await_due(self, row: LogRow, send: Send) -> None:
        seconds = self._pace.wait(row.contents[0][2], asyncio.get_running_loop().time())
        while seconds > self._heartbeat:
            await asyncio.sleep(self._heartbeat)
            seconds -= self._heartbeat
            await self._send(send, HEARTBEAT)
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def _send(self, send: Send, body: bytes, *, has_more: bool = True) -> bool:
        await send({"type": "http.response.body", "body": body, "more_body": has_more})
        return has_more


def _single(rows: Iterable[LogRow]) -> Iterator[LogRow]:
    """Yield each event as a row of its own."""
    for row in rows:
        start = 0
        for seq, content in enumerate(row.contents, row.first_seq):
            end = start + content[1]
            yield LogRow(row.thread_id, seq, seq, row.run_id, [content], row.payload[start:end])
            start = end
