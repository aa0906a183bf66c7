"""Owns the processes that measure: orders go in and samples come out as lines of JSON.

Each contender has one of its own, so that no contender's heap, threads or garbage collection meets another's.
What is measured in there is `in_process`'s and `http_load`'s.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from threadline.bench.slices import Measure, Order, Sample
from threadline.commands.collector import collect_seldom, keep_what_is_there

# Nothing else of ours gets in: a tracing key or a setting in the shell would be measured, too.
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR")
_PATIENCE = 120.0  # seconds beyond a slice's own
_STOP_PATIENCE = 10.0


class ContenderFailed(Exception):
    """A process ended, or answered nothing; what it had to say stands above, on the error output."""


def clean_environment(**added: str) -> dict[str, str]:
    """Return the environment of everything that is measured."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | added


@dataclass(frozen=True, slots=True)
class Child:
    """A measuring process, seen from the one that gives the orders."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def pid(self) -> int:
        return self.process.pid

    async def measure(self, order: Order) -> Sample:
        """Return the slice's sample. Raises ContenderFailed."""
        self.writer.write(orjson.dumps(order) + b"\n")
        return Sample(**await self._answer(order.seconds + _PATIENCE))

    async def wait_ready(self) -> None:
        """Return when it can take orders. Raises ContenderFailed."""
        await self._answer(_PATIENCE)

    async def _answer(self, patience: float) -> Mapping[str, Any]:
        try:
            line = await asyncio.wait_for(self.reader.readline(), patience)
        except TimeoutError:
            raise ContenderFailed(f"process {self.pid} gave no answer for {patience:g} s") from None
        if not line:
            raise ContenderFailed(f"process {self.pid} ended with code {await self.process.wait()}")
        answer: Mapping[str, Any] = orjson.loads(line)
        return answer


@asynccontextmanager
async def run_child(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Have a process of `threadline.bench.<module>` for the length of the block; raises ContenderFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"threadline.bench.{module}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    child = Child(process, process.stdout, process.stdin)
    try:
        await child.wait_ready()
        yield child
    finally:
        child.writer.close()
        await end_process(process)


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Wait for a process that was told to end; one that does not is killed."""
    try:
        await asyncio.wait_for(process.wait(), _STOP_PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()


async def take_orders(measure: Callable[[Order], Awaitable[Sample]]) -> None:
    """In a child: measure what is ordered until nobody gives orders any more."""
    _freeze_heap()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _tell({})
    while line := await reader.readline():
        order = orjson.loads(line)
        _tell(await measure(Order(Measure(order["measure"]), order["clients"], order["seconds"])))


def _freeze_heap() -> None:
    """What our server does when it has started, so that nobody is ahead by this."""
    collect_seldom()
    keep_what_is_there()


def _tell(answer: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
    sys.stdout.buffer.flush()
