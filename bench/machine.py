"""Owns the facts that numbers cannot be read without: the machine, how busy it was, and what ran on it."""

import asyncio
import os
import platform
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

PACKAGES = ("threadline", "langgraph", "langgraph-checkpoint-postgres", "psycopg", "fastapi", "uvicorn", "uvloop")
_BUSY = 0.25  # load per core above which others compete with what is measured
_SYNCS = 50


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a sitting took place. `load` is the system's average of the last minute, before we added ours."""

    system: str
    cores: int
    load: float
    revision: str
    python: str
    postgres: str
    fsync_ms: float
    packages: dict[str, str]

    @property
    def is_busy(self) -> bool:
        return self.load > _BUSY * self.cores


def current_load() -> float:
    """Return how many processes wanted to run during the last minute, on average."""
    return os.getloadavg()[0]


def describe_machine(load: float, revision: str, postgres: str, folder: Path) -> Machine:
    """Collect the facts; `folder` lies on the disk that the database is on."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=_count_cores(),
        load=round(load, 2),
        revision=revision,
        python=platform.python_version(),
        postgres=postgres,
        fsync_ms=round(_time_fsync(folder) * 1000, 2),
        packages={name: version(name) for name in PACKAGES},
    )


async def read_revision(root: Path) -> str:
    """Return what git calls the tree that was measured; nothing where git does not know."""
    try:
        git = await asyncio.create_subprocess_exec(
            "git", "-C", root, "describe", "--always", "--dirty", stdout=PIPE, stderr=DEVNULL
        )
    except FileNotFoundError:
        return ""
    output, _ = await git.communicate()
    return output.decode().strip()


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _time_fsync(folder: Path) -> float:
    """Return the median seconds until a page that was appended to a file is on the disk."""
    times = []
    path = folder / "fsync"
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            start = perf_counter()
            file.write(bytes(8192))
            os.fsync(file.fileno())
            times.append(perf_counter() - start)
    path.unlink()
    return median(times)
