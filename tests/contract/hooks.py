"""Owns the receiver of webhooks: what servers send to it is kept, as requests with an answer of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from threadline.tests.contract.exchanges import Exchange

HOOK = "HOOK"


@dataclass
class Receiver:
    """Takes webhooks at `url`, each of which becomes an exchange."""

    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request, and answer it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        path = head.split(" ")[1]
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        self.exchanges.append(Exchange(HOOK, path, b"", received=await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def receive_hooks() -> AsyncIterator[Receiver]:
    """Have a receiver for the length of the block."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()
