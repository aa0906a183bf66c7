"""Owns an HTTP server that takes webhooks in a thread of the test: what it got, and what it answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


@dataclass
class Receiver:
    """`answers` are the statuses to come, 200 when there are none left; `location` is where redirects lead.

    While `gate` is closed nothing is answered. `raw` are the bodies as they came.
    """

    port: int = 0
    answers: list[int] = field(default_factory=list)
    location: str = ""
    retry_after: str = ""
    gate: Event = field(default_factory=Event)
    raw: list[bytes] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def receive_hooks() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.gate.set()

    class Handle(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.raw.append(body)
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.paths.append(self.path)
            receiver.bodies.append(json.loads(body))
            receiver.gate.wait(30)
            status = receiver.answers.pop(0) if receiver.answers else 200
            self.send_response(status)
            if receiver.location:
                self.send_header("location", receiver.location)
            if receiver.retry_after:
                self.send_header("retry-after", receiver.retry_after)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handle)
    receiver.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, name="hooks")
    thread.start()
    try:
        yield receiver
    finally:
        receiver.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
