"""Owns the network of the fault laboratory: a relay of bytes that can delay, lose answers, cut and leave half open.

It knows nothing of what it relays; `laboratory.proxy` is for tests that mean one statement.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

CHUNK = 65536
Target = int | Path  # a port of this machine, or the socket of a server
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection through the relay."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Relay:
    """Listens on `port` and passes on to the first target that answers, beginning with another one each time."""

    def __init__(self, targets: Callable[[], Sequence[Target]]) -> None:
        self.port = 0
        self.delay = 0.0  # seconds, for each piece that is passed on
        self.lost = 0  # answers so far
        self._targets = targets
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._losses = 0
        self._flows = asyncio.Event()
        self._flows.set()

    # What can be done to it.

    def cut(self, chance: random.Random, share: float = 1.0) -> str:
        """Cut that share of the connections on both sides; returns how many of how many."""
        links = list(self._links)
        chosen = [link for link in links if chance.random() < share]
        for link in chosen:
            link.cut()
        return f"{len(chosen)} of {len(links)}"

    def lose_answers(self, count: int) -> None:
        """Cut the next `count` connections on which a server answers, with the answer thrown away."""
        self._losses = count

    def leave_half_open(self) -> None:
        """Close the servers' sides and tell the clients nothing, neither these nor new ones, until `heal`."""
        self._flows.clear()
        for link in list(self._links):
            link.server.transport.abort()

    def freeze(self) -> None:
        """Pass nothing on until `heal`; nobody is cut."""
        self._flows.clear()

    def heal(self) -> None:
        """Be a good network again. Whoever was left half open is told now."""
        self.delay = 0.0
        self._losses = 0
        self._flows.set()
        for link in list(self._links):
            if link.server.is_closing():
                link.cut()

    # How it passes on.

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(asyncio.CancelledError):  # by `close`: nobody waits for this task but that
            await self._flows.wait()
            if (behind := await self._connect()) is not None:
                await self._relay(_Link(writer, behind[1]), reader, behind[0])
        writer.transport.abort()

    async def _relay(self, link: _Link, asked: asyncio.StreamReader, answered: asyncio.StreamReader) -> None:
        self._links.add(link)
        both = [
            asyncio.ensure_future(self._pass_on(link, asked, link.server, answers=False)),
            asyncio.ensure_future(self._pass_on(link, answered, link.client, answers=True)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self._links.discard(link)
            link.cut()

    async def _connect(self) -> Streams | None:
        targets = list(self._targets())
        self._turn += 1
        for position in range(len(targets)):
            target = targets[(self._turn + position) % len(targets)]
            with suppress(OSError):
                if isinstance(target, Path):
                    return await asyncio.open_unix_connection(str(target))
                return await asyncio.open_connection("127.0.0.1", target)
        return None

    async def _pass_on(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        """Pass on until the side that is read from ends, which ends the other one, unless that is not to be told."""
        while data := await reader.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flows.wait()
            if answers and self._losses:
                self._losses -= 1
                self.lost += 1
                link.cut()
                return
            writer.write(data)
            await writer.drain()
        await self._flows.wait()
        if writer.can_write_eof():
            writer.write_eof()

    def close(self) -> None:
        """Cut everything."""
        self.heal()
        for link in list(self._links):
            link.cut()
        for task in list(self._tasks):
            task.cancel()

    async def closed(self) -> None:
        """Wait until nothing is passed on any more."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def open_relay(targets: Callable[[], Sequence[Target]]) -> AsyncIterator[Relay]:
    """Have a relay for the length of the block."""
    relay = Relay(targets)
    listener = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = listener.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        listener.close()
        relay.close()
        await relay.closed()
        await listener.wait_closed()
