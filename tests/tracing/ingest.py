"""Owns a stand-in for LangSmith's ingest endpoint: what it was sent, merged into spans, as a tree.

It takes multipart requests, plain and zstd, and JSON batches. A patch wins over a post, whichever came first.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from uuid import uuid4

import zstandard

Span = dict[str, Any]
BIG = ("inputs", "outputs", "events", "extra", "error", "serialized")


@dataclass
class Ingest:
    """What was received. `status`, `delay` (seconds) and `hangs` say how traces are answered from now on.

    `desk` says how requests for addresses of feedback are: `open`, `broken`, `confused` or `silent`; `wishes` are
    those requests, each with its headers.
    """

    multipart: bool = True
    zstd: bool = True
    status: int = 202
    delay: float = 0.0
    hangs: bool = False
    url: str = ""
    desk: str = "open"
    wishes: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    _posts: dict[str, Span] = field(default_factory=dict)
    _patches: dict[str, Span] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    released: Event = field(default_factory=Event)

    @property
    def spans(self) -> dict[str, Span]:
        """Every span by its id, with what its patches said over what its posts did."""
        with self._lock:
            ids = {**self._posts, **self._patches}
            return {each: _merge(self._posts.get(each, {}), self._patches.get(each, {})) for each in ids}

    def trace(self, trace_id: object) -> list[Span]:
        """The spans of one trace, in the order of the tree."""
        found = [span for span in self.spans.values() if span.get("trace_id") == str(trace_id)]
        return sorted(found, key=lambda span: str(span["dotted_order"]))

    def tree(self, trace_id: object) -> list[str]:
        """The names of a trace's spans, each indented below its parent."""
        return ["  " * span["dotted_order"].count(".") + span["name"] for span in self.trace(trace_id)]

    def is_whole(self, trace_id: object) -> bool:
        """Whether the trace's root has arrived with its end, and every span with its."""
        spans = self.trace(trace_id)
        return any(span["id"] == str(trace_id) for span in spans) and all(span.get("end_time") for span in spans)

    def text(self) -> str:
        """Everything that was sent, decompressed."""
        return "\n".join(body.decode("utf-8", "replace") for body in self.raw)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Read one request."""
        if headers.get("content-encoding") == "zstd":
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        batch = _read_multipart(headers, body) if path.endswith("multipart") else json.loads(body)
        with self._lock:
            self.requests.append((path, headers))
            self.raw.append(body)
            for target, key in ((self._posts, "post"), (self._patches, "patch")):
                for span in batch.get(key, []):
                    target[span["id"]] = _merge(target.get(span["id"], {}), span)


def _merge(below: Span, above: Span) -> Span:
    return below | {key: value for key, value in above.items() if value is not None}


def _read_multipart(headers: dict[str, str], body: bytes) -> dict[str, list[Span]]:
    """Split by the length that each part announces: a boundary may stand in a value."""
    boundary = b"--" + headers["content-type"].partition("boundary=")[2].encode()
    found: dict[str, dict[str, Span]] = {"post": {}, "patch": {}}
    place = 0
    while body[place : place + len(boundary) + 2] == boundary + b"\r\n":
        start = body.index(b"\r\n\r\n", place) + 4
        head = body[place:start].decode()
        name = re.search(r'name="([^"]+)"', head)
        length = re.search(r"(?i)content-length: *(\d+)|length=(\d+)", head)
        assert name, head
        assert length, head
        end = start + int(length[1] or length[2])
        kind, span_id, *path = name[1].split(".")
        if kind in found:
            span = found[kind].setdefault(span_id, {"id": span_id})
            value = json.loads(body[start:end])
            span.update({path[0]: value} if path else value)
        place = end + 2
    assert body[place:].startswith(boundary + b"--"), body[place : place + 80]
    return {kind: list(spans.values()) for kind, spans in found.items()}


def _answerer(ingest: Ingest) -> type[BaseHTTPRequestHandler]:
    class Answerer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            config = {"use_multipart_endpoint": ingest.multipart, "size_limit": 100, "size_limit_bytes": 20_971_520}
            scaling = {"scale_up_nthreads_limit": 4, "scale_up_qsize_trigger": 1000, "scale_down_nempty_trigger": 4}
            info = {
                "version": "0.15.0",
                "batch_ingest_config": config | scaling,
                "instance_flags": {"zstd_compression_enabled": ingest.zstd},
            }
            self._answer(200, json.dumps(info).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/feedback/tokens":
                self._answer_wishes(json.loads(body))
                return
            if ingest.hangs:
                ingest.released.wait(30)
                return
            time.sleep(ingest.delay)
            if ingest.status < 300:
                ingest.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self._answer(ingest.status, b"{}")

        def _answer_wishes(self, wishes: list[Any]) -> None:
            ingest.wishes.append(({name.lower(): value for name, value in self.headers.items()}, wishes))
            tokens = [{"id": str(uuid4()), "url": f"{ingest.url}/tokens/{each['feedback_key']}"} for each in wishes]
            match ingest.desk:
                case "silent":
                    ingest.released.wait(30)
                case "broken":
                    self._answer(500, b"{}")
                case "confused":
                    self._answer(200, json.dumps(tokens[1:]).encode())
                case _:
                    self._answer(200, json.dumps(tokens).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Answerer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no failure here."""


@contextmanager
def serve_ingest(**options: Any) -> Iterator[Ingest]:
    """Serve a stand-in for the length of the block."""
    ingest = Ingest(**options)
    server = _Server(("127.0.0.1", 0), _answerer(ingest))
    ingest.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.02,), name="ingest", daemon=True)
    thread.start()
    try:
        yield ingest
    finally:
        ingest.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
