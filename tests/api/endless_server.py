"""A program: serves an endless stream and a slow request on the listening socket it inherited.

The only argument is the number of the socket's descriptor. It prints a line when the application has ended.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI, Request, Response

from threadline.api.departures import Stopping
from threadline.api.server import Server
from threadline.api.waiting import Waiting


async def _never() -> bytes:
    await asyncio.Event().wait()
    return b""


def main() -> None:
    """Serve until a signal comes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        print("closed", flush=True)

    app = FastAPI(lifespan=lifespan)
    app.state.stopping = Stopping()

    @app.get("/stream")
    async def stream(request: Request) -> Response:
        return Waiting(_never, heartbeat=0.05, stopping=app.state.stopping, headers={"location": "/again"})

    @app.get("/stuck")
    async def stuck() -> None:
        print("stuck", flush=True)
        await asyncio.Event().wait()

    listener = socket.socket(fileno=int(sys.argv[1]))
    Server(app, listener, timedelta(seconds=1 if "short" in sys.argv else 60)).run()
    print("left", flush=True)


if __name__ == "__main__":
    main()
