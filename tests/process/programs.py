"""Owns the `threadline` command as a process of its own: started, waited for, looked into, and killed."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from threadline.tests.laboratory.locks import until

START_SECONDS = 60.0
STOP_SECONDS = 60.0
COMMAND = Path(sys.executable).with_name("threadline")

# What this machine has set for itself must not reach the programs that are tested.
_FOREIGN = ("THREADLINE_", "DATABASE_", "POSTGRES_", "OPENAI_", "BG_JOB_", "TEST_DATABASE_URL", "PORT")


class _Process(NamedTuple):
    pid: int
    parent: int
    command: str


@dataclass
class Program:
    """A `threadline` command. `output` is the file that takes what it says."""

    process: subprocess.Popen[bytes]
    output: Path
    url: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        """All it has said so far."""
        return self.output.read_text("utf-8", "replace")

    async def ready(self, sign: str) -> None:
        """Wait until it says `sign`."""

        def has_said() -> bool:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.said()}"
            return sign in self.said()

        await until(has_said, f"{self.process.args!r} says {sign!r}:\n{self.said()}", START_SECONDS)

    def children(self) -> list[int]:
        """The processes that serve and execute for `serve`."""
        return [each.pid for each in _descendants(self.pid) if " child " in each.command and each.parent == self.pid]

    def kill(self) -> None:
        """End it, its children and their helpers at once; its PostgreSQL has to notice by itself."""
        with suppress(ProcessLookupError):
            # So that nothing new is started while the list is read.
            os.kill(self.pid, signal.SIGSTOP)
            for pid in [self.pid, *(each.pid for each in _descendants(self.pid))]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended by itself and return its exit code."""
        await until(lambda: self.process.poll() is not None, f"{self.process.args!r} ends:\n{self.said()}", seconds)
        return self.process.returncode

    async def stop(self) -> int:
        """Tell it to end in order, wait, and return its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return await self.ended()


def launch(
    arguments: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str],
    name: str,
    command: Sequence[str | Path] = (COMMAND,),
) -> Program:
    """Start `threadline` with these arguments and nothing of our own settings, in `folder`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    output = folder / f"{name}.log"
    with output.open("ab") as sink:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    return Program(process, output)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    return any(each.pid == pid for each in _processes())


def _descendants(pid: int) -> list[_Process]:
    """Everything below that process, apart from its PostgreSQL."""
    processes = _processes()
    found = [each for each in processes if each.pid == pid]
    for parent in found:
        found += [each for each in processes if each.parent == parent.pid and "shim.py" not in each.command]
    return found[1:]


def _processes() -> list[_Process]:
    """All processes of this machine that have not ended."""
    ps = ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="]
    lines = subprocess.run(ps, capture_output=True, text=True, check=True).stdout.splitlines()
    fields = [line.split(None, 3) for line in lines]
    return [_Process(int(each[0]), int(each[1]), each[3]) for each in fields if "Z" not in each[2] and len(each) > 3]
