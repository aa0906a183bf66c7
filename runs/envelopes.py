"""Owns the protocol's view of the log: which of a thread's events it shows, and the envelope each is sent in.

Every protocol event is one event of the log and has its number; nothing depends on the events before it, so that a
reader may begin anywhere. What a row of the log holds is the recorder's and the transcript's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from threadline.runs.channels import Filter
from threadline.runs.encoding import encode
from threadline.runs.model import (
    ATTEMPT_STARTED,
    CHECKPOINTS,
    INPUT_REQUESTED,
    LIFECYCLE,
    MESSAGES,
    RUN_ENDED,
    TOOLS,
    LogRow,
)
from threadline.runs.outcome import INTERRUPT

# What the log calls an event, and the protocol's method for it.
_METHODS = {
    "values": "values",
    "updates": "updates",
    "custom": "custom",
    "tasks": "tasks",
    MESSAGES: "messages",
    TOOLS: "tools",
    LIFECYCLE: "lifecycle",
    CHECKPOINTS: "checkpoints",
    ATTEMPT_STARTED: "lifecycle",
    RUN_ENDED: "lifecycle",
    INPUT_REQUESTED: "input.requested",
}
_CHANNELS = {"input.requested": "input"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """One event as the protocol sends it; `body` is JSON text."""

    seq: int
    method: str
    channel: str
    namespace: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class _View:
    """What the name of an event in the log says about it."""

    source: str
    method: str
    channel: str
    namespace: tuple[str, ...]
    namespace_json: bytes


class Envelopes:
    """Reads rows of one thread's log; belongs to one reader, for which it remembers names."""

    def __init__(self) -> None:
        self._views: dict[str, _View | None] = {}

    def read(self, row: LogRow, after: int, *filters: Filter) -> Iterator[Envelope]:
        """Yield the events of `row` behind number `after` that one of `filters` accepts."""
        start = 0
        for index, (name, length, time) in enumerate(row.contents):
            end = start + length
            seq = row.first_seq + index
            if seq > after and (view := self._view(name)) is not None:
                envelope = self._make(view, row, index, seq, row.payload[start:end], time // 1000, filters)
                if envelope is not None:
                    yield envelope
            start = end

    def _view(self, name: str) -> _View | None:
        try:
            return self._views[name]
        except KeyError:
            source, *namespace = name.split("|")
            method = _METHODS.get(source)
            view = None
            if method is not None:
                channel = _CHANNELS.get(method, method)
                view = _View(source, method, channel, tuple(namespace), encode(namespace))
            self._views[name] = view
            return view

    def _make(
        self, view: _View, row: LogRow, index: int, seq: int, data: bytes, time: int, filters: tuple[Filter, ...]
    ) -> Envelope | None:
        channel, namespace, namespace_json = view.channel, view.namespace, view.namespace_json
        if view.method == "lifecycle":
            told = _lifecycle(view, row, index, data)
            if told is None:
                return None
            phase, data = told
            event_id = _synthesized(row.run_id, "lc", namespace, phase)
        elif view.method == "input.requested":
            asked = orjson.loads(data)
            if asked.get("again"):
                return None
            namespace = tuple(asked["ns"])
            namespace_json = encode(namespace)
            event_id = _synthesized(row.run_id, "input", namespace, asked["id"])
            # `payload` is the protocol's word, `value` the one its Python client reads.
            data = encode({"interrupt_id": asked["id"], "payload": asked["value"], "value": asked["value"]})
        else:
            event_id = b"%d-%d" % (time, seq)
            if view.source == "values":
                data = _without_interrupt(data)
            elif channel == "custom" and any(each.wants_custom_names for each in filters):
                channel = _custom_channel(data)
        if not any(each.accepts(channel, namespace) for each in filters):
            return None
        body = (
            b'{"type":"event","event_id":"%b","seq":%d,"method":"%b","params":{"namespace":%b,"timestamp":%d,"data":%b}}'
            % (event_id, seq, view.method.encode(), namespace_json, time, data)
        )
        return Envelope(seq, view.method, channel, namespace, body)


def _lifecycle(view: _View, row: LogRow, index: int, data: bytes) -> tuple[str, bytes] | None:
    """Return the phase an event tells of, with its data; None for an end that the event before it has told."""
    if view.source == LIFECYCLE:
        return orjson.loads(data)["event"], data
    if view.source == ATTEMPT_STARTED:
        return "running", encode({"event": "running", "graph_name": orjson.loads(data)["graph_id"]})
    if index > 0 and row.contents[index - 1][0] == LIFECYCLE:
        return None
    ended: dict[str, Any] = {"event": "completed"}
    if b'"__error__"' in data or b'"__interrupt__"' in data:
        values = orjson.loads(data)
        if isinstance(values, dict) and "__error__" in values:
            error = values["__error__"]
            ended = {"event": "failed", "error": error["message"] or error["error"]}
        elif isinstance(values, dict) and INTERRUPT in values:
            ended = {"event": "interrupted"}
    return ended["event"], encode(ended)


def _synthesized(run_id: UUID, kind: str, namespace: tuple[str, ...], what: str) -> bytes:
    """Clients read the run out of such an id, which is the same for each attempt of a run."""
    text = encode(f"synth:{run_id}:{kind}|{'|'.join(namespace)}|{what}")
    return text[1:-1]


def _without_interrupt(data: bytes) -> bytes:
    """Questions have a channel of their own here; in the state they would stay when they are answered."""
    if b'"__interrupt__"' not in data:
        return data
    values = orjson.loads(data)
    if not isinstance(values, dict) or INTERRUPT not in values:
        return data
    return encode({key: value for key, value in values.items() if key != INTERRUPT})


def _custom_channel(data: bytes) -> str:
    value = orjson.loads(data)
    name = value.get("name") if isinstance(value, dict) else None
    return f"custom:{name}" if isinstance(name, str) and name else "custom"
