"""Owns what the operating system says of a process and its descendants: their CPU time and memory.

Only Linux says it in `/proc`; elsewhere there is nothing to report.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_EVERY = 0.05  # seconds between two looks at the memory


@dataclass(slots=True)
class Usage:
    """CPU seconds per process between two points, the greediest first, and the most memory seen meanwhile."""

    cpu_seconds: tuple[float, ...] = ()
    peak_bytes: int = 0


def family_of(pid: int) -> list[int]:
    """Return the process and all its descendants; nothing where the system does not tell."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            children.setdefault(int(_fields(int(folder.name))[1]), []).append(int(folder.name))
    return list(_descend(pid, children)) if children else []


def _descend(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _descend(child, children)


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third on: the second may hold anything."""
    return (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that the process has used."""
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pids: list[int]) -> int:
    """Return the memory of these processes that is in RAM; what they share counts for each."""
    pages = sum(int((_PROC / str(pid) / "statm").read_text("ascii").split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def watch_usage(pids: list[int]) -> AsyncIterator[Usage]:
    """Watch these processes for the length of the block; what is yielded is complete behind it."""
    usage = Usage()
    before = {pid: cpu_seconds(pid) for pid in pids}

    async def look() -> None:
        while True:
            usage.peak_bytes = max(usage.peak_bytes, resident_bytes(pids))
            await asyncio.sleep(_EVERY)

    watching = asyncio.create_task(look(), name="memory")
    try:
        yield usage
    finally:
        watching.cancel()
    usage.cpu_seconds = tuple(sorted((cpu_seconds(pid) - before[pid] for pid in pids), reverse=True))
