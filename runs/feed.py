"""Owns following a thread's log from a number on, also when the thread is only about to be created."""

import asyncio
from contextlib import AsyncExitStack, nullcontext
from types import TracebackType
from uuid import UUID

from threadline.checkpoints.pool import Pool
from threadline.runs.callers import calling, clear_thread, current_caller
from threadline.runs.errors import CursorTrimmed, ThreadNotFound
from threadline.runs.model import LogRow
from threadline.runs.subscription import Subscription
from threadline.runs.tails import Tails

LOOK_AGAIN = 1.0  # seconds, for a thread whose creation nobody hinted at


class Feed:
    """`async with`: the rows of a thread's log behind number `after`; behind 0 all that are kept.

    A thread that is not there yet has no rows; clients listen before they start the first run. Who may listen is
    asked of the present caller, again when the thread turns up. Entering raises CursorTrimmed and what the rules
    raise, reading also ThreadGone and CursorTrimmed.
    """

    def __init__(self, pool: Pool, tails: Tails, thread_id: UUID, after: int) -> None:
        self._pool = pool
        self._caller = current_caller()  # of the request; the stream itself may outlive its context
        self._tails = tails
        self._thread_id = thread_id
        self.after = after  # 0, once the log turned out to end before it
        self._stack = AsyncExitStack()
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> "Feed":
        await self._subscribe()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def next_rows(self, patience: float) -> list[LogRow]:
        """Return the rows that follow, or none if none came within `patience` seconds."""
        due = asyncio.get_running_loop().time() + patience
        while self._subscription is None:
            left = due - asyncio.get_running_loop().time()
            if left <= 0:
                return []
            await self._tails.expect(self._thread_id, min(left, LOOK_AGAIN))
            await self._subscribe()
        return await self._subscription.next_rows(max(0.0, due - asyncio.get_running_loop().time()))

    async def _subscribe(self) -> None:
        with calling(self._caller) if self._caller is not None else nullcontext():
            await clear_thread(self._pool, self._thread_id)
        try:
            try:
                self._subscription = await self._follow()
            except CursorTrimmed as trimmed:
                if self.after > 0:
                    raise
                self.after = trimmed.trimmed_seq  # who asks for everything gets what there is
                self._subscription = await self._follow()
            if self._subscription.cursor < self.after:
                self.after = 0
        except ThreadNotFound:
            self._subscription = None

    async def _follow(self) -> Subscription:
        return await self._stack.enter_async_context(self._tails.follow(self._thread_id, self.after))
