"""Owns a proxy before PostgreSQL that can lose an answer, or hold back what a client has already sent.

It understands as much of the protocol as it takes to know which statement an answer belongs to.
"""

import asyncio
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from threadline.tests.laboratory.locks import until

READY = b"Z"
# Tests name statements as they are written, without it.
_SCHEMA = re.compile(rb'"[a-z_]+"\.')


class Link:
    """One client's connection through the proxy."""

    def __init__(self, proxy: "Proxy", client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self.client = client
        self.server = server
        self.statements: dict[bytes, bytes] = {}
        self.executing = b""
        self.released = asyncio.Event()

    async def upstream(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the client says, message by message behind the start-up packet."""
        (size,) = struct.unpack("!I", head := await reader.readexactly(4))
        self.server.write(head + await reader.readexactly(size - 4))
        while True:
            kind = await reader.readexactly(1)
            (size,) = struct.unpack("!I", head := await reader.readexactly(4))
            body = await reader.readexactly(size - 4)
            self._note(kind, body)
            await self._proxy.before_server(self, kind)
            self.server.write(kind + head + body)
            await self.server.drain()

    def _note(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            name, _, rest = body.partition(b"\0")
            self.statements[name] = _SCHEMA.sub(b"", rest.partition(b"\0")[0])
        elif kind == b"B":
            self.executing = self.statements.get(body.split(b"\0", 2)[1], b"")
        elif kind == b"Q":
            self.executing = _SCHEMA.sub(b"", body)

    async def downstream(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the server says."""
        while True:
            kind = await reader.readexactly(1)
            (size,) = struct.unpack("!I", head := await reader.readexactly(4))
            body = await reader.readexactly(size - 4)
            if not await self._proxy.before_client(self, kind):
                return
            self.client.write(kind + head + body)
            await self.client.drain()


class Proxy:
    """Listens on a port of its own; `conninfo` leads through it to the server behind."""

    def __init__(self, conninfo: str) -> None:
        self._behind = conninfo_to_dict(conninfo)
        self.conninfo = ""
        self._refuses = False
        self._losses: dict[bytes, int] = {}
        self._hold: bytes | None = None
        self.held: list[Link] = []
        self._released = asyncio.Event()
        self.lost = 0
        self._links: set[Link] = set()
        self.tasks: set[asyncio.Task[Any]] = set()

    def lose_answer(self, to: str, times: int = 1) -> None:
        """Cut the next `times` connections when the server has carried out a statement that contains `to`.

        The statement is committed: the server says so in the message that is thrown away.
        """
        self._losses[to.encode()] = times

    def hold(self, statement: str) -> None:
        """Keep back, from now on, statements that contain this text: the server does not see them yet."""
        self._hold = statement.encode()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Pass on what is held back, also of clients that are gone."""
        self._hold = None
        self._released.set()

    async def release_first(self) -> None:
        """Pass on what has been held back longest, waiting for it if need be, and nothing else."""
        await until(lambda: self.held, "something to release")
        link = self.held.pop(0)
        link.released.set()

    def cut(self, link: Link) -> None:
        """Close the client's side only: the server still gets what is on its way."""
        link.client.transport.abort()

    def cut_clients(self) -> None:
        """Close the clients' side of every connection; their servers go on with what they have."""
        for link in self._links:
            self.cut(link)

    def drop(self, link: Link) -> None:
        """Close both sides: what is held back never arrives."""
        link.server.transport.abort()
        link.client.transport.abort()

    def cut_all(self) -> None:
        """Cut every connection on both sides."""
        for link in list(self._links):
            link.client.transport.abort()
            link.server.transport.abort()

    def isolate(self) -> None:
        """Cut every connection, and take no other until `connect_again`."""
        self._refuses = True
        self.cut_all()

    def connect_again(self) -> None:
        self._refuses = False

    async def before_server(self, link: Link, kind: bytes) -> None:
        if kind == b"B" and self._hold is not None and self._hold in link.executing:
            self.held.append(link)
            waits = [asyncio.ensure_future(event.wait()) for event in (self._released, link.released)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            link.released.clear()

    async def before_client(self, link: Link, kind: bytes) -> bool:
        if kind != READY:
            return True
        executed, link.executing = link.executing, b""
        due = next((text for text, times in self._losses.items() if times and text in executed), None)
        if due is None:
            return True
        self._losses[due] -= 1
        self.lost += 1
        self.cut(link)
        return False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        host, port = str(self._behind.get("host") or "localhost"), self._behind.get("port") or 5432
        if host.startswith("/"):
            server_reader, server_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            server_reader, server_writer = await asyncio.open_connection(host, int(port))
        link = Link(self, writer, server_writer)
        self._links.add(link)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        up = asyncio.create_task(link.upstream(reader), name="proxy/up")
        down = asyncio.create_task(link.downstream(server_reader), name="proxy/down")
        try:
            # A client that is gone may have left a message that is held back.
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            for result in await asyncio.gather(up, down, return_exceptions=True):
                if not isinstance(result, OSError | asyncio.IncompleteReadError | asyncio.CancelledError | None):
                    raise result
            self._links.discard(link)
            for side in (writer, server_writer):
                side.close()
                with suppress(OSError):
                    await side.wait_closed()


@asynccontextmanager
async def open_proxy(conninfo: str) -> AsyncIterator[Proxy]:
    """Have a proxy to the server of `conninfo` for the length of the block."""
    proxy = Proxy(conninfo)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    plain: dict[str, Any] = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
    proxy.conninfo = make_conninfo(conninfo, hostaddr=None, **plain)
    try:
        yield proxy
    finally:
        proxy.release()
        listener.close()
        proxy.cut_all()
        await listener.wait_closed()
        await asyncio.gather(*proxy.tasks)
