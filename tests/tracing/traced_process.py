"""Owns a traced server in a process of its own, for tests that look at its environment, its log and its end."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from threadline.tests.laboratory.places import variables as way_to
from threadline.tests.tracing.traced_world import GRAPHS, NAMES

PROGRAM = Path(__file__).with_name("traced_server.py")


@dataclass
class TracedProcess:
    """A server that runs; its spool is `spool`."""

    url: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def spool(self) -> Path:
        return self.folder / ".threadline" / "traces"

    def stop(self) -> float:
        """Stop it as a deployment does; returns the seconds until it had ended."""
        started = monotonic()
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log
        return monotonic() - started


@contextmanager
def start_traced(dsn: str, folder: Path, endpoint: str, environ: Mapping[str, str]) -> Iterator[TracedProcess]:
    """Run a server that traces to `endpoint` for the length of the block."""
    (folder / "langgraph.json").write_text(json.dumps({"graphs": {name: f"{GRAPHS}:{name}" for name in NAMES}}))
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        **way_to(dsn),
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_API_KEY": "lsv2_test",
        "LANGSMITH_ENDPOINT": endpoint,
        **environ,
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=log, text=True
        )
    with process:
        assert process.stdout is not None
        try:
            yield TracedProcess(process.stdout.readline().strip(), folder, process)
        finally:
            process.kill()
