"""Owns a whole server as people start it: `threadline serve` with default settings, on a free port."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from threadline.bench.children import ContenderFailed, clean_environment, end_process
from threadline.bench.processes import family_of

_COMMAND = Path(sys.executable).with_name("threadline")
_CONFIGURATION = Path(__file__).with_name("langgraph.json")
_PATIENCE = 60.0
_ADDRESS = re.compile(r"serves http://([\d.]+):(\d+)")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes requests, and the processes that it consists of."""

    host: str
    port: str
    pids: list[int]


@asynccontextmanager
async def run_server(dsn: str, workers: int, folder: Path) -> AsyncIterator[Server]:
    """Have a server with `workers` children for the length of the block; raises ContenderFailed.

    Its log goes to a file in `folder`, as a container's would: that is part of the price of a run.
    """
    log = folder / f"server-{workers}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            _COMMAND,
            *("serve", "--port", "0", "--workers", str(workers)),
            *("--config", _CONFIGURATION, "--data-dir", folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,  # away from a .env that somebody keeps in the project
            env=clean_environment(DATABASE_URL=dsn),
        )
    try:
        host, port = await _await_address(process, log)
        yield Server(host, port, family_of(process.pid))
    finally:
        if process.returncode is None:
            process.terminate()
        await end_process(process)


async def _await_address(process: asyncio.subprocess.Process, log: Path) -> tuple[str, str]:
    """Return host and port from what the server prints when it is ready."""
    deadline = monotonic() + _PATIENCE
    while (found := _ADDRESS.search(_read(log))) is None:
        if process.returncode is not None or monotonic() > deadline:
            raise ContenderFailed(f"`threadline serve` said no address. Its log:\n{_read(log)}")
        await asyncio.sleep(0.05)
    return found[1], found[2]


def _read(log: Path) -> str:
    return log.read_text("utf-8", "replace")
