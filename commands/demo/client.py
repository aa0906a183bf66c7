"""Owns the demo's HTTP: requests as any client makes them, and event streams that may break off."""

import json
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

import httpx

from threadline.commands.demo.failure import DemoFailed

MODES = ("updates", "messages-tuple", "custom")
_PATIENCE = httpx.Timeout(30.0)


class Event(NamedTuple):
    """A server-sent event; `id` is its number in the thread's log."""

    id: int
    name: str
    data: Any


class Client:
    """A client of one server, for a `with` block. All but a broken stream raises DemoFailed when it goes wrong."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_PATIENCE, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def stream_run(self, thread_id: str, **body: Any) -> Iterator[Event]:
        """Create a run of the assistant and yield its events. Ends early when the connection breaks."""
        body = {"assistant_id": "assistant", "if_not_exists": "create", "stream_mode": MODES, **body}
        return self._stream("POST", f"/threads/{thread_id}/runs/stream", json=body)

    def join_stream(self, thread_id: str, run_id: str, last_event_id: int | str) -> Iterator[Event]:
        """Yield a run's events behind `last_event_id`; `-` is before the first."""
        headers = {"Last-Event-ID": str(last_event_id)}
        return self._stream("GET", f"/threads/{thread_id}/runs/{run_id}/stream", headers=headers)

    def get(self, path: str) -> Any:
        """Return the JSON at `path`."""
        return self._request("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that is answered."""
        return self._request("POST", path, json=body)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise DemoFailed(f"{method} {path} was not answered: {error!r}") from error
        if response.is_error:
            raise DemoFailed(f"{method} {path} was answered {response.status_code}: {response.text[:500]}")
        return response.json()

    def _stream(self, method: str, path: str, **options: Any) -> Iterator[Event]:
        try:
            with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    text = response.read().decode("utf-8", "replace")[:500]
                    raise DemoFailed(f"{method} {path} was answered {response.status_code}: {text}")
                yield from read_events(response.iter_bytes())
        except httpx.TransportError:
            return  # cut off: what came until then was given, and the caller sees that the end is missing


def new_thread_id() -> str:
    """Make the id of a thread that its first run creates."""
    return str(uuid4())


def read_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Yield the whole events of a stream that arrives in pieces, up to where it is cut."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        *frames, buffer = buffer.split(b"\r\n\r\n")
        for frame in frames:
            lines = (line.partition(b": ") for line in frame.split(b"\r\n"))
            fields = {name: value for name, _, value in lines if name}
            if b"data" in fields:  # others are signs of life
                yield Event(int(fields[b"id"]), fields[b"event"].decode(), json.loads(fields[b"data"]))
