"""Owns the server that the demo plays with: `threadline` as a process of its own, started, killed and stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from threadline.commands.demo.failure import DemoFailed, expect
from threadline.commands.demo.processes import descendants, living
from threadline.settings import variables_for_program

_START_SECONDS = 60.0
_STOP_SECONDS = 40.0
_GONE_SECONDS = 10.0
_TICK_SECONDS = 0.02
_LOG_TAIL_LINES = 30
_URL = re.compile(r"serves (http://\S+:(\d+))")
_GRAPHS = {"graphs": {"assistant": "threadline.graphs.assistant.graph:graph"}}


class DemoServer:
    """A server on a data directory in `folder`, which may be started again after it was killed."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.url = ""
        config = folder / "langgraph.json"
        config.write_text(json.dumps(_GRAPHS), "utf-8")
        self._flags = ["--config", str(config), "--data-dir", str(folder / "data")]

    @property
    def pid(self) -> int:
        """The process of `threadline serve`."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it serves, on the same port each time. Raises DemoFailed."""
        output = self._folder / "serve.out"
        with output.open("wb") as out, self._log.open("ab") as log:
            # A group of its own, so that a kill takes all of it and nothing else.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
                self._command("serve", "--port", str(self._port), "--workers", "1"),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
        _wait_until(lambda: self._is_serving(output), _START_SECONDS, "the server starts within a minute")

    def ingest(self, paths: Sequence[Path], folder: Path) -> list[str]:
        """Run `threadline ingest` in `folder` and return what it printed, line by line. Raises DemoFailed."""
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            self._command("ingest", *map(str, paths)),
            cwd=folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DemoFailed(f"threadline ingest ended with code {done.returncode}: {done.stderr.strip()}")
        return done.stdout.splitlines()

    def kill(self) -> set[int]:
        """Kill the server and its children with SIGKILL; return all it had started, once all of that is gone."""
        started = {self.pid} | descendants(self.pid)
        os.killpg(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        _wait_until(lambda: not living(started), _GONE_SECONDS, "nothing of the killed server is left after 10 s")
        return started

    def stop(self) -> None:
        """Stop it with SIGTERM, as a process manager does, and expect exit code 0."""
        assert self._process is not None
        started = {self.pid} | descendants(self.pid)
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(_STOP_SECONDS)
        expect(code == 0, "the server ends with exit code 0 after SIGTERM", code)
        _wait_until(lambda: not living(started), _GONE_SECONDS, "nothing of the stopped server is left after 10 s")

    def abandon(self) -> None:
        """End it in whatever state it is."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError, DemoFailed):
                self.kill()

    def read_log(self) -> str:
        """Return the end of its log."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-_LOG_TAIL_LINES:])

    @property
    def _log(self) -> Path:
        return self._folder / "serve.log"

    def _command(self, name: str, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "threadline.cli", name, *self._flags, *arguments]

    def _environment(self) -> dict[str, str]:
        return variables_for_program(self._variables)

    def _is_serving(self, output: Path) -> bool:
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise DemoFailed(f"The server ended with code {code} instead of serving.")
        if found := _URL.search(output.read_text("utf-8", "replace")):
            self.url, self._port = found[1], int(found[2])
        return found is not None


@contextmanager
def run_server(folder: Path, variables: Mapping[str, str]) -> Iterator[DemoServer]:
    """Have a server for the length of the block, and leave nothing of it behind."""
    server = DemoServer(folder, variables)
    try:
        server.start()
        yield server
        server.stop()
    except DemoFailed as failure:
        raise DemoFailed(f"{failure}\nEnd of the server's log:\n{server.read_log()}") from failure
    finally:
        server.abandon()


def _wait_until(condition: Callable[[], bool], seconds: float, promise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < deadline, promise, "that it takes longer")
        time.sleep(_TICK_SECONDS)
