"""Owns a stream as a plain socket: a thousand of them are cheap, and one of them can be left unread."""

import asyncio
import re
from contextlib import suppress
from typing import NamedTuple

_ID = re.compile(rb"\nid: (\d+)\r\n")
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Address(NamedTuple):
    """Where an API is."""

    host: str
    port: int


class RawStream:
    """One client of one run's stream, which comes back wherever it is told to, behind the last event that it has."""

    def __init__(self, thread_id: str, run_id: str) -> None:
        self.ids: list[int] = []
        self.has_ended = False
        self._path = f"/threads/{thread_id}/runs/{run_id}/stream"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, address: Address) -> None:
        """Ask for what follows the last event, and read nothing."""
        self.close()
        self._reader, self._writer = await asyncio.open_connection(*address)
        last = str(self.ids[-1]) if self.ids else "-"
        head = f"GET {self._path} HTTP/1.1\r\nHost: {address.host}\r\nLast-Event-ID: {last}\r\n\r\n"
        self._writer.write(head.encode())
        await self._writer.drain()

    async def read_on(self, *, until_event: bool = False) -> None:
        """Read to the end of the connection, or to the first events."""
        assert self._reader is not None
        rest = b""
        with suppress(ConnectionError):
            while data := await self._reader.read(65536):
                text = rest + data
                self.ids += [int(number) for number in _ID.findall(text)]
                self.has_ended = text.endswith(_LAST_CHUNK)
                # An id may lie across two reads; one that was found must not be found again.
                rest = text[text.rfind(b"\nid: ") :] if text.rfind(b"\nid: ") > text.rfind(b"\r\n\r\n") else text[-8:]
                if self.has_ended or (until_event and self.ids):
                    return

    def close(self) -> None:
        """Go away."""
        if self._writer is not None:
            self._writer.close()
