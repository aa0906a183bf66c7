"""Owns noticing that an answer will not be read to its end; what then becomes of the run is the answer's business.

A stopping server must cut its open streams without the final chunk: a client that sees the body end properly
takes it for the end of the run, one that sees it broken off comes back and resumes. ASGI has no word for that,
so our server offers one as an extension of the scope, and an answer uses it through `cut`.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType

from starlette.types import Receive, Scope

CUT = "threadline.cut"


class Departure(StrEnum):
    """Why an answer is not read to its end."""

    CLIENT = "the client went away"
    SHUTDOWN = "the server stops"


class Stopping:
    """The news, within one process, that the server stops. Belongs to one event loop."""

    def __init__(self) -> None:
        self.is_set = False
        self._watchers: set[Callable[[], None]] = set()

    def set(self) -> None:
        """Tell everybody who watches, and everybody who comes later."""
        self.is_set = True
        for notify in list(self._watchers):
            self._notify(notify)

    def watch(self, notify: Callable[[], None]) -> None:
        """Call `notify` when the server stops; soon if it does already."""
        self._watchers.add(notify)
        if self.is_set:
            asyncio.get_running_loop().call_soon(self._notify, notify)

    def unwatch(self, notify: Callable[[], None]) -> None:
        """Call `notify` no more."""
        self._watchers.discard(notify)

    def _notify(self, notify: Callable[[], None]) -> None:
        if notify in self._watchers:
            notify()


class Presence:
    """`async with`: the block is interrupted when the client goes away or the server stops.

    The block ends without an error then, and `departure` says why. Nothing else may read `receive` meanwhile.
    """

    def __init__(self, receive: Receive, stopping: Stopping) -> None:
        self._receive = receive
        self._stopping = stopping
        self.departure: Departure | None = None

    async def __aenter__(self) -> "Presence":
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._listener = asyncio.create_task(self._listen(), name="api.disconnect")
        self._listener.add_done_callback(self._on_listened)
        self._stopping.watch(self._on_stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._stopping.unwatch(self._on_stop)
        self._listener.cancel()
        if self.departure is None:
            return False
        # As asyncio.timeout does: a cancellation that came from elsewhere as well goes on.
        return self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _on_listened(self, listener: "asyncio.Task[None]") -> None:
        # A request that cannot be read any further has no client who reads the answer either.
        if not listener.cancelled():
            listener.exception()
            self._depart(Departure.CLIENT)

    def _on_stop(self) -> None:
        self._depart(Departure.SHUTDOWN)

    def _depart(self, departure: Departure) -> None:
        if self.departure is None:
            self.departure = departure
            self._task.cancel()


async def cut(scope: Scope, receive: Receive) -> None:
    """Break the connection off behind what was sent, so that the client sees an answer without its end.

    Where the server does not offer that, the answer just stays unfinished.
    """
    extension = (scope.get("extensions") or {}).get(CUT)
    if extension is None:
        return
    extension["close"]()
    while (await receive())["type"] != "http.disconnect":
        pass
