"""Owns processes that own a server, and waiting for what they do; which of them a test starts is left to `conftest`."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg

from threadline.checkpoints.embedded import EmbeddedServer

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB"}

# A parent as `serve` is one: it starts a server, says where it is, and lives until it is told or killed.
_OWNER = """
import json, os, signal, sys
from pathlib import Path
from threadline.checkpoints.embedded import start_server

# Whoever runs the tests in the background of a shell has this signal ignored, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

request = json.loads(sys.argv[1])
if request["uid"] is not None:
    os.setgroups([])
    os.setgid(request["uid"])
    os.setuid(request["uid"])
server = start_server(Path(request["data_dir"]), options=request["options"])
if request["fork"] and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(json.dumps({"dsn": server.dsn}), flush=True)
sys.stdin.read()
server.stop()
"""


class Start(Protocol):
    def __call__(self, data_dir: Path, *, bindir: Path | None = None, **options: str) -> EmbeddedServer: ...


@dataclass(frozen=True)
class Owner:
    """A process that owns a server."""

    program: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.program.pid

    def read_dsn(self) -> str:
        """Wait until its server is ready."""
        assert self.program.stdout is not None
        readable, _, _ = select.select([self.program.stdout], [], [], 30)
        line = self.program.stdout.readline() if readable else ""
        assert line, self.end()
        dsn: str = json.loads(line)["dsn"]
        return dsn

    def send(self, number: signal.Signals) -> None:
        self.program.send_signal(number)

    def end(self) -> str:
        """Close its input, upon which it stops its server and ends; return what it said about errors."""
        _, errors = self.program.communicate(timeout=30)
        return errors

    def kill(self) -> None:
        """Kill it and take it off the system's list of processes."""
        with self.program:
            self.program.kill()


def find_cluster(data_dir: Path) -> Path:
    """Return the folder of the one cluster in `data_dir`."""
    (cluster,) = data_dir.glob("pg*/data")
    return cluster


def find_postmaster(data_dir: Path) -> int:
    """Return the process id of the running server of `data_dir`, from its own file."""
    return int((find_cluster(data_dir) / "postmaster.pid").read_text().split()[0])


def find_shim(data_dir: Path) -> int:
    """Return the process id of the server's parent."""
    ps = ["ps", "-o", "ppid=", "-p", str(find_postmaster(data_dir))]
    return int(subprocess.run(ps, capture_output=True, text=True, check=True).stdout)


def remember(dsn: str) -> None:
    """Write what `assert_remembered` looks for."""
    with psycopg.connect(dsn) as connection:
        connection.execute("drop table if exists kept")
        connection.execute("create table kept as select 42 as answer")


def assert_remembered(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)
        connection.execute("drop table kept")


class StartOwner(Protocol):
    def __call__(
        self, data_dir: Path, *, python: str = sys.executable, uid: int | None = None, fork: bool = False
    ) -> Owner: ...


def launch_owner(
    import_path: Path, data_dir: Path, *, python: str = sys.executable, uid: int | None = None, fork: bool = False
) -> Owner:
    """Start an owner of `data_dir`: as another account, or with a forked child that outlives it."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = {"PYTHONPATH": os.pathsep.join([str(import_path), *packages]), "PYTHONDONTWRITEBYTECODE": "1"}
    program = subprocess.Popen(
        [python, "-c", _OWNER, json.dumps({"data_dir": str(data_dir), "options": FAST, "uid": uid, "fork": fork})],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Owner(program)


def eventually(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Poll until `condition` holds; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        threading.Event().wait(0.01)
