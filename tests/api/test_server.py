"""The server as a process: an inherited socket, and what each signal does."""

import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection, socket
from typing import IO, Any

import httpx
import pytest
from fastapi import FastAPI
from sse_starlette.sse import AppStatus

from threadline.api.departures import Stopping

PROGRAM = Path(__file__).with_name("endless_server.py")
Serve = Callable[[FastAPI], AbstractContextManager[Any]]


@dataclass
class Program:
    """A serving process on a socket that this one has bound."""

    url: str
    process: subprocess.Popen[str]
    output: IO[str]

    def line(self) -> str:
        return self.output.readline().strip()


@contextmanager
def _start(*arguments: str) -> Iterator[Program]:
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        number = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(number), *arguments],
            pass_fds=[number],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    with process:
        assert process.stdout is not None
        yield Program(url, process, process.stdout)
        process.kill()


def test_sigterm_cuts_streams_closes_the_application_and_exits_with_0() -> None:
    with _start() as program:
        with httpx.stream("GET", f"{program.url}/stream", timeout=30) as answer:
            chunks = answer.iter_bytes()
            next(chunks)
            program.process.terminate()
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                list(chunks)
        assert [program.line(), program.line()] == ["closed", "left"]
        assert program.process.wait(10) == 0


@contextmanager
def _stuck_request(program: Program) -> Iterator[None]:
    port = int(program.url.rpartition(":")[2])
    with create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n")
        assert program.line() == "stuck"
        yield


def test_a_request_that_does_not_end_is_left_behind_after_the_drain() -> None:
    with _start("short") as program, _stuck_request(program):
        program.process.terminate()
        assert [program.line(), program.line()] == ["closed", "left"]
        assert program.process.wait(10) == 0


def test_a_second_interrupt_does_not_wait_for_requests() -> None:
    with _start() as program, _stuck_request(program):
        program.process.send_signal(signal.SIGINT)
        stopped = threading.Event()

        def interrupt_until_it_ends() -> None:
            while not stopped.wait(0.2):
                program.process.send_signal(signal.SIGINT)

        insisting = threading.Thread(target=interrupt_until_it_ends)
        insisting.start()
        try:
            program.process.wait(10)
        finally:
            stopped.set()
            insisting.join()


def test_streams_of_other_libraries_are_told_that_the_server_stops_and_those_of_other_servers_are_not(
    serve: Serve,
) -> None:
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        seen.append(AppStatus.should_exit)

    app = FastAPI(lifespan=lifespan)
    app.state.stopping = Stopping()
    with serve(app):
        assert not AppStatus.should_exit
    assert seen == [True]
    assert not AppStatus.should_exit


def test_an_idle_connection_is_kept_longer_than_clients_do(serve: Serve) -> None:
    app = FastAPI()
    app.state.stopping = Stopping()
    with serve(app) as served:
        assert served.server.config.timeout_keep_alive > (httpx.Limits().keepalive_expiry or 0)
