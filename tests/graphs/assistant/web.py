"""Owns a web server whose pages a test writes: whole, redirected, endless, slow or of any type."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Event, Thread
from typing import Any


@dataclass(frozen=True)
class Page:
    """What is answered: a body, repeated without end if `endless`; with `silent` nothing comes after the headers."""

    body: bytes = b""
    kind: str | None = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    endless: bool = False
    silent: bool = False


@dataclass
class Site:
    """A running server: its port, its pages by path, and the requests that came, each with its Host."""

    port: int
    pages: dict[str, Page]
    scheme: str = "http"
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The address of a page."""
        return f"{self.scheme}://{host}:{self.port}{path}"


@contextmanager
def site(pages: Mapping[str, Page], at: str = "127.0.0.1", tls: SSLContext | None = None) -> Iterator[Site]:
    """Serve the pages until the end of the block, over TLS with the certificate of `tls` if there is one."""
    server = _Server((at, 0), _Pages)
    if tls is not None:
        # Shaken hands are up to each connection's own thread: a client that goes away then holds up no other.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served = Site(server.server_port, dict(pages), "https" if tls else "http")
    server.site = served  # type: ignore[attr-defined]  # the standard library's way to reach a request's server
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="site")
    thread.start()
    try:
        yield served
    finally:
        served.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us is no failure here."""


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        served: Site = self.server.site  # type: ignore[attr-defined]  # set by `site`
        served.asked.append((self.path, self.headers["Host"]))
        page = served.pages.get(self.path, Page(status=404))
        self.send_response(page.status)
        if page.kind is not None:
            self.send_header("Content-Type", page.kind)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self._send(page, served.stopped)

    def _send(self, page: Page, stopped: Event) -> None:
        if page.silent:
            stopped.wait(30)
            return
        write: Callable[[bytes], Any] = self.wfile.write
        try:
            write(page.body)
            while page.endless and not stopped.is_set():
                write(page.body)
        except OSError:
            # The reader has had enough, which is what endless pages are for.
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the requests are in the site."""
