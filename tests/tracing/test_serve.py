"""`threadline serve`, traced as docs/tracing.md says."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from socket import socket

import httpx

from threadline.tests.source import ROOT
from threadline.tests.tracing.ingest import serve_ingest

PROGRAM = Path(sys.executable).with_name("threadline")


def free_port() -> int:
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ok").status_code == 200
    except httpx.TransportError:
        return False


def test_the_run_of_the_guide_is_traced_where_it_says(dsn: str, tmp_path: Path) -> None:
    command = re.search(
        r"curl http://127\.0\.0\.1:8123(\S+) .*? -d '(.*?)'", (ROOT / "docs/tracing.md").read_text(), re.S
    )
    assert command
    url = f"http://127.0.0.1:{free_port()}"
    with serve_ingest() as ingest:
        environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "DATABASE_URL": dsn,
            "THREADLINE_PORT": url.rpartition(":")[2],
            "THREADLINE_CONFIG": str(ROOT / "langgraph.json"),
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_API_KEY": "lsv2_test",
            "LANGSMITH_ENDPOINT": ingest.url,
        }
        log = (tmp_path / "log").open("w")
        with log, subprocess.Popen([PROGRAM, "serve"], cwd=tmp_path, env=environ, stdout=log, stderr=log) as server:
            try:
                wait_until(lambda: is_up(url))
                assert httpx.get(f"{url}/info").json()["flags"]["langsmith"] is True
                answer = httpx.post(f"{url}{command[1]}", json=json.loads(command[2]), timeout=30)
                run_id = answer.headers["location"].split("/")[-2]
                wait_until(lambda: ingest.is_whole(run_id))
            finally:
                server.send_signal(signal.SIGTERM)
                assert server.wait(30) == 0
    names = [line.strip() for line in ingest.tree(run_id)]
    assert names[0] == "assistant"
    assert {"planner", "tools", "calculate", "responder"} <= set(names)
    assert {span["session_name"] for span in ingest.trace(run_id)} == {"evaluation"}
    assert "llm" in {span["run_type"] for span in ingest.trace(run_id)}
