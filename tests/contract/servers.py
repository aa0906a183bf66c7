"""Owns the two servers that are compared, as processes of their own: ours, and the reference as a black box."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from threadline.tests.laboratory.places import variables as way_to
from threadline.tests.process.programs import COMMAND, free_port
from threadline.tests.source import ROOT

PROJECTS = Path(__file__).parent
REFERENCE = ROOT / ".venv/reference/bin/langgraph"
START_SECONDS = 60.0
# Nothing leaves this machine: what is not on it is sought behind a proxy that is not there.
NOWHERE = "http://127.0.0.1:9"
ISOLATED = {
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "ALL_PROXY": NOWHERE,
    "NO_PROXY": "127.0.0.1,localhost",
    "LANGSMITH_TRACING": "false",
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
}


@dataclass(frozen=True)
class Served:
    """A server at `url`; its gated nodes look for their gates in `gates`."""

    url: str
    gates: Path


@contextmanager
def serve_ours(folder: Path, dsn: str, project: str) -> Iterator[Served]:
    """Serve a project with `threadline serve`, on a database, for the length of the block."""
    port = free_port()
    command = [str(COMMAND), "serve", "--port", str(port), "--config", "project/langgraph.json"]
    with _serve(command, folder, port, {**way_to(dsn), **OURS}, project) as served:
        yield served


OURS = {"THREADLINE_WEBHOOK_ALLOW_LOOPBACK": "true"}


@contextmanager
def serve_reference(folder: Path, project: str) -> Iterator[Served]:
    """Serve a project with the official development server, for the length of the block."""
    port = free_port()
    options = ["--no-browser", "--no-reload", "--host", "127.0.0.1", "--n-jobs-per-worker", "40"]
    command = [str(REFERENCE), "dev", "--port", str(port), "--config", "langgraph.json", *options]
    with _serve(command, folder, port, {}, project, cwd="project") as served:
        yield served


@contextmanager
def _serve(
    command: list[str], folder: Path, port: int, variables: Mapping[str, str], project: str, cwd: str = "."
) -> Iterator[Served]:
    # A copy, since the reference keeps its state beside the graphs.
    shutil.copytree(PROJECTS / project, folder / "project", ignore=shutil.ignore_patterns("__pycache__"))
    gates = folder / "gates"
    gates.mkdir()
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=folder / cwd,
            env=_environment(gates, variables),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _await_ready(process, f"{url}/ok", log)
        yield Served(url, gates)
    finally:
        # All of it at once: what it has is thrown away, and it would wait for the nodes at their gates.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(gates: Path, variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, **ISOLATED, "HOME": str(gates.parent), "CONTRACT_GATES": str(gates), **variables}


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"it does not serve:\n{log.read_text('utf-8', 'replace')}")
