"""Owns `threadline` as processes of the tests: started, listened to, and ended whatever happens."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from threadline.commands.demo.processes import descendants, living
from threadline.tests.checkpoints.embedded.owners import eventually

PROGRAM = Path(sys.executable).with_name("threadline")
START_SECONDS = 60.0
# What would lead a command to somebody's database, or set it up differently.
OTHERS = ("THREADLINE_", "DATABASE_", "POSTGRES_URI", "LOG_")
_URL = re.compile(r"serves (http://\S+)")


def environment(**variables: str) -> dict[str, str]:
    """The variables of this process, without those that commands read, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    return {**kept, "OPENAI_API_KEY": "", "PORT": "", "PYTHONUNBUFFERED": "1", **variables}


@dataclass
class Program:
    """A running command; what it prints is in files below `folder`."""

    process: subprocess.Popen[bytes]
    folder: Path
    started: set[int] = field(default_factory=set)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def family(self) -> set[int]:
        """The program and all that it has started so far."""
        self.started |= {self.pid} | descendants(self.pid)
        return self.started

    @property
    def commands(self) -> list[str]:
        """The command lines of what it has started and still runs."""
        pids = [str(pid) for pid in living(self.family)]
        ps = ["ps", "-ww", "-o", "args=", "-p", ",".join(pids)]
        return subprocess.run(ps, capture_output=True, text=True).stdout.splitlines()

    @property
    def children(self) -> list[int]:
        """The processes that serve, of a `serve`."""
        return sorted(int(pid) for pid in re.findall(r"child\.ready child=\d+ pid=(\d+)", self.log))

    def await_log(self, text: str, *, times: int = 1, within: float = START_SECONDS) -> None:
        """Wait until `text` was logged; fail at once if the program ended instead."""

        def is_there() -> bool:
            if self.log.count(text) >= times:
                return True
            assert self.process.poll() is None, self.log + self.output
            return False

        eventually(is_there, within=within)

    def await_url(self) -> str:
        """Wait until it serves, and return where."""
        eventually(lambda: _URL.search(self.output) or self.process.poll() is not None, within=START_SECONDS)
        found = _URL.search(self.output)
        assert found, self.log + self.output
        assert self.family
        return found[1]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def await_end(self, within: float = 60.0) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(within)

    def await_gone(self, within: float = 10.0) -> None:
        """Wait until nothing of it is left."""
        eventually(lambda: not living(self.started), within=within)

    def first_run(self) -> tuple[str, bytes]:
        """The address and the body of the run that the banner proposes."""
        words = shlex.split(self.output[self.output.index("curl ") :].split("\n\n")[0].replace("\\\n", ""))
        return words[2], words[words.index("-d") + 1].encode()

    def end(self) -> None:
        """Kill what is left of it."""
        family = self.family
        self.process.kill()
        self.process.wait()
        for pid in living(family):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def launch(folder: Path, *arguments: str, cwd: Path | None = None, **variables: str) -> Program:
    """Start `threadline` with these arguments and variables."""
    folder.mkdir()
    with (folder / "out").open("wb") as out, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=cwd or folder,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            start_new_session=True,
        )
    return Program(process, folder)


def run(
    *arguments: str, cwd: Path = Path("/"), variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=cwd,
        env=environment(**(variables or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )
