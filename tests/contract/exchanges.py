"""Owns what the catalogue sees of a server: each request with its answer, as they passed over the wire.

What an answer means, and which parts of it are compared, is decided elsewhere.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

KEPT_HEADERS = (
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "content-location",
    "content-type",
    "location",
    "x-accel-buffering",
    "x-pagination-next",
    "x-pagination-total",
)


@dataclass
class Exchange:
    """One request and what came back; `raised` is what the official client made of it, where a scenario asks."""

    method: str
    path: str
    sent: bytes
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    received: bytes = b""
    raised: str | None = None

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def body(self) -> Any:
        """Return the value of a JSON body, the text of any other, None where there is none."""
        return parse(self.received) if self.received else None

    def events(self) -> list[dict[str, Any]]:
        """Return the server-sent events."""
        blocks = self.received.decode().replace("\r\n", "\n").split("\n\n")
        return [event for block in blocks if (event := _event(block))]


def parse(text: bytes) -> Any:
    """Return what `text` stands for: a JSON value, or else itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", "replace")


def _event(block: str) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(": ")
        if name == "data":
            event["data"] = parse(value.encode())
        elif name in ("event", "id"):
            event[name] = value
    return event


class RecordingTransport(httpx.AsyncBaseTransport):
    """Sends requests, and keeps each with its answer in `exchanges`, in the order of the requests."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        # The reference closes a connection behind a 500 without saying so: each request has one of its own.
        self._transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`."""
        path = request.url.raw_path.decode()
        exchange = Exchange(request.method, path, await request.aread())
        self.exchanges.append(exchange)
        response = await self._transport.handle_async_request(request)
        exchange.status = response.status_code
        exchange.headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Kept(response.stream, exchange)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


class _Kept(httpx.AsyncByteStream):
    """Passes a body on and keeps it."""

    def __init__(self, stream: httpx.AsyncByteStream, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._exchange.received += chunk
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
