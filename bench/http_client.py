"""Owns a cheap HTTP connection: requests made beforehand go out, parsed answers come back.

The client shares the machine with what it measures, so it does nothing that a measurement can do without.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import cast

import httptools
import orjson


class ConnectionLost(ConnectionError):
    """The server hung up before its answer was complete."""


class Answer:
    """An answer, piece by piece as it came, each with the time of its arrival (of `perf_counter`)."""

    __slots__ = ("pieces", "status")

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[tuple[float, bytes]] = []

    @property
    def body(self) -> bytes:
        return b"".join([piece for _, piece in self.pieces])

    def arrival_of(self, text: bytes) -> float:
        """Return when `text` was first there as a whole. Raises ValueError if it never was."""
        so_far = b""
        for time, piece in self.pieces:
            so_far += piece
            if text in so_far:
                return time
        raise ValueError(f"{text!r} is not in {so_far[:500]!r}")


class Connection(asyncio.Protocol):
    """One keep-alive connection, for one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._answer = Answer()
        self._waiter: asyncio.Future[Answer] | None = None
        self._headed: asyncio.Future[int] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request and return its whole answer. Raises ConnectionLost."""
        self.send(request)
        return await self.answered()

    def send(self, request: bytes) -> None:
        """Send a request; its answer is waited for with `headed` and `answered`."""
        loop = asyncio.get_running_loop()
        self._answer, self._waiter, self._headed = Answer(), loop.create_future(), loop.create_future()
        assert self._transport is not None
        self._transport.write(request)

    async def headed(self) -> int:
        """Return the status once the answer has begun. Raises ConnectionLost."""
        assert self._headed is not None
        return await self._headed

    async def answered(self) -> Answer:
        """Return the answer once it is complete. Raises ConnectionLost."""
        assert self._waiter is not None
        return await self._waiter

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self._headed, self._waiter):
            if future is not None and not future.done():
                future.set_exception(ConnectionLost(f"the server hung up: {exc}"))
                future.exception()  # marks it seen: nobody may be waiting for this one

    # What the parser calls.

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if self._headed is not None and not self._headed.done():
            self._headed.set_result(self._answer.status)

    def on_body(self, data: bytes) -> None:
        self._answer.pieces.append((perf_counter(), data))

    def on_message_complete(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._answer)


async def connect(host: str, port: int, count: int) -> Sequence[Connection]:
    """Open `count` connections. Raises OSError."""
    loop = asyncio.get_running_loop()
    opened = await asyncio.gather(*[loop.create_connection(Connection, host, port) for _ in range(count)])
    return [connection for _, connection in opened]


def make_request(method: str, path: str, body: object = None) -> bytes:
    """Return the bytes of a request with a JSON body, or without one for None."""
    content = b"" if body is None else orjson.dumps(body)
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: bench\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode("ascii") + content


def hang_up(connections: Sequence[Connection]) -> None:
    """Close all of them."""
    for connection in connections:
        with suppress(RuntimeError):
            connection.close()
