"""Owns the reading of an event stream as clients saw it: the frames of events, byte by byte."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    data: Any
    id: int


def frames_of(body: bytes) -> list[bytes]:
    """Return the frames of events; signs of life and of place are not among them."""
    return [frame for frame in body.split(b"\r\n\r\n") if frame.startswith(b"event:")]


def events_of(body: bytes) -> list[Event]:
    """Return the events of a stream."""
    fields = [dict(line.split(": ", 1) for line in frame.decode().split("\r\n")) for frame in frames_of(body)]
    return [Event(field["event"], json.loads(field["data"]), int(field["id"])) for field in fields]
