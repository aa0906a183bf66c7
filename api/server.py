"""Owns the HTTP server of one process: it listens on a socket it is handed, and stops without ending a stream.

Started by the entry points, so that stopping is ours: no signal handler is patched or looked up.
"""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from socket import socket
from threading import current_thread, main_thread
from types import FrameType

import uvicorn
from fastapi import FastAPI
from sse_starlette.sse import AppStatus
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from threadline.api.departures import CUT, Stopping

logger = logging.getLogger("threadline.api")

# Longer than clients keep an idle connection, so that it is they who close it, never in the middle of a request.
KEEP_ALIVE = timedelta(seconds=75)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Connection(HttpToolsProtocol):
    """A client's connection that an answer may cut off."""

    def on_message_begin(self) -> None:
        """Offer the cut to the request that begins."""
        super().on_message_begin()
        self.scope["extensions"] = {CUT: {"close": self.transport.close}}


class Server(uvicorn.Server):
    """Serves `app` on a listening socket, inherited or bound here.

    SIGTERM and SIGINT stop it: it accepts nothing more, cuts open streams, lets other requests finish for up to
    `drain`, and closes the application. A second SIGINT leaves the requests where they are. `serve` returns then;
    the signal is not raised again.
    """

    def __init__(self, app: FastAPI, listener: socket, drain: timedelta) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(KEEP_ALIVE.total_seconds()),
            timeout_graceful_shutdown=max(1, round(drain.total_seconds())),
        )
        super().__init__(config)
        self._stopping: Stopping = app.state.stopping
        self._listener = listener

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Serve until stopped."""
        try:
            await super().serve(sockets or [self._listener])
        finally:
            AppStatus.should_exit = False  # another server of this process goes on

    def stop(self) -> None:
        """Stop serving, as the first signal does."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop in order; called by `serve`."""
        logger.info("server.stopping", extra={"connections": len(self.server_state.connections)})
        self._stopping.set()
        # Streams of other libraries on the same stack watch this flag.
        AppStatus.should_exit = True
        await super().shutdown(sockets)
        logger.info("server.stopped")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal while serving; the handlers before are put back after."""
        if current_thread() is not main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and on a second Ctrl-C at once."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
