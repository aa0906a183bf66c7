"""Owns the reading of a guide as a person follows it: its commands typed block after block, its server started."""

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import NamedTuple

from threadline.tests.commands.programs import Program, environment
from threadline.tests.source import ROOT

URL = "http://127.0.0.1:8123"
# What a reader leaves running in a terminal of its own.
_SERVER = re.compile(r"^(make run|\.venv/bin/threadline serve\b.*)$")


class Block(NamedTuple):
    """A block of code, the heading it stands under, and the line before it."""

    heading: str
    kind: str
    text: str
    before: str


def read_guide(path: str) -> list[Block]:
    """Return the blocks of a guide in their order."""
    blocks, heading = [], ""
    parts = re.split(r"^```(\w*)\n(.*?)^```\n", (ROOT / path).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for prose, kind, text in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
        heading = headings[-1] if headings else heading
        blocks.append(Block(heading, kind, text, prose.strip().rpartition("\n")[2]))
    return blocks


class Reader:
    """Types what a guide says in `folder`; the processes it starts keep their files in `desk`."""

    def __init__(self, folder: Path, desk: Path, **variables: str) -> None:
        self._folder = folder
        self._desk = desk
        with socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self._port = str(taken.getsockname()[1])
        path = f"{sys.prefix}/bin:{os.environ['PATH']}"
        self._environment = environment(**variables, THREADLINE_PORT=self._port, PATH=path)
        self._names: dict[str, str] = {}
        self._servers = 0
        self.server: Program | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def follow(self, block: Block) -> str:
        """Type the lines of a block; returns what was printed. A server that runs is stopped for the next one."""
        lines = block.text.splitlines(keepends=True)
        for exported in re.findall(r"(?m)^export (.+)$", block.text):
            self._environment |= dict(word.split("=", 1) for word in shlex.split(exported))
        typed = "".join(line for line in lines if not _SERVER.match(line.strip()))
        printed = self._type(typed) if typed.strip() else ""
        for line in lines:
            if _SERVER.match(line.strip()):
                self.stop()
                self._start(line.strip())
        return printed

    def stop(self) -> None:
        """Press Ctrl-C in the server's terminal, which reaches all that was started from it; nothing is left then."""
        if self.server is None:
            return
        assert self.server.family
        os.killpg(self.server.pid, signal.SIGINT)
        self.server.await_end()
        self.server.await_gone()
        self.server = None

    def abandon(self) -> None:
        """Kill what is left."""
        if self.server is not None:
            with suppress(ProcessLookupError):
                self.server.end()

    def _here(self, text: str) -> str:
        """Let a command mean this environment and this server."""
        made = Path(sys.prefix)
        # An environment that stands is taken as it is: a test does not install.
        text = re.sub(r"(?m)^make ", f"make -o {made}/installed VENV={made} ", text)
        return text.replace(".venv/bin/", f"{made}/bin/").replace(URL, self.url)

    def _type(self, text: str) -> str:
        names = [*self._names, *re.findall(r"(?m)^([A-Z]+)=", text)]
        kept = self._desk / "names"
        told = "".join(f'printf "%s\\n" "{name}=${name}" >>{shlex.quote(str(kept))}\n' for name in names)
        kept.write_text("")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{self._here(text)}\n{told}"],
            cwd=self._folder,
            env={**self._environment, **self._names},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        self._names |= dict(line.split("=", 1) for line in kept.read_text().splitlines())
        return done.stdout

    def _start(self, command: str) -> None:
        self._servers += 1
        folder = self._desk / f"server-{self._servers}"
        folder.mkdir()
        with (folder / "out").open("wb") as out, (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", self._here(command)],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
        self.server = Program(process, folder)
        assert self.server.await_url() == self.url
