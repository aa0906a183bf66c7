"""Owns the children of `serve`: starting them, replacing those that die, and stopping them.

What a child does is in `child`. Each has one end of a socket pair; that this process holds the other keeps it alive.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from time import monotonic

from threadline.commands.exits import CommandFailed
from threadline.commands.link import Orders, Report, encode_line, read_report
from threadline.commands.stopping import run_together

logger = logging.getLogger("threadline.serve")

# A fault in the graphs or the settings does not go away; one of the machine's may.
START_ATTEMPTS = 3
# Doubled with each death in a row; a child that lived this long begins again.
FIRST_PAUSE = timedelta(seconds=0.1)
LONGEST_PAUSE = timedelta(seconds=5)
HEALTHY = timedelta(seconds=10)


class Children:
    """So many children, each kept alive by a task of its own in `run`."""

    def __init__(self, orders: Orders, number: int, patience: timedelta) -> None:
        self._orders = orders
        self._patience = patience
        self._reports: list[asyncio.Future[Report]] = [asyncio.Future() for _ in range(number)]

    async def run(self) -> None:
        """Keep the children until cancelled, then stop them. Raises CommandFailed when one cannot be started."""
        await run_together({f"child/{number}": self._keep(number) for number in range(len(self._reports))})

    async def first_reports(self) -> list[Report]:
        """Return what each child reported once all of them serve."""
        return list(await asyncio.gather(*self._reports))

    async def _keep(self, number: int) -> None:
        failed_starts = 0
        pause = FIRST_PAUSE
        for life in count(1):
            started = monotonic()
            async with _start(self._orders, self._patience) as child:
                report = await child.read_report()
                if report is not None and report.is_ready:
                    self._note(number, life, child, report)
                code = await child.process.wait()
            failed_starts = count_failure(failed_starts, report)
            logger.error("child.died", extra={"child": number, "pid": child.process.pid, "exit": _describe_exit(code)})
            if failed_starts == START_ATTEMPTS:
                raise CommandFailed(_describe_failure(report, code))
            pause = FIRST_PAUSE if monotonic() - started > HEALTHY.total_seconds() else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause.total_seconds())

    def _note(self, number: int, life: int, child: "_Child", report: Report) -> None:
        logger.info("child.ready", extra={"child": number, "pid": child.process.pid, "life": life})
        if not self._reports[number].done():
            self._reports[number].set_result(report)


def count_failure(failed_starts: int, report: Report | None) -> int:
    """Return how many starts in a row have failed, after a child that left this report, or none, has ended.

    One that found no database says nothing of those to come.
    """
    if report is None:
        return failed_starts + 1
    if report.is_ready:
        return 0
    return failed_starts + report.is_lasting


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    link: asyncio.StreamReader

    async def read_report(self) -> Report | None:
        """Return what it says of its start; None when it ended without a word."""
        try:
            line = await self.link.readline()
        except ConnectionError:  # it was killed before it had read its orders
            return None
        return read_report(line) if line.endswith(b"\n") else None


@asynccontextmanager
async def _start(orders: Orders, patience: timedelta) -> AsyncIterator[_Child]:
    """Have a child for the length of the block."""
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            process = await _spawn(theirs, orders)
            theirs.close()
            writer.write(encode_line(orders))
            try:
                yield _Child(process, reader)
            finally:
                if process.returncode is None:
                    await _stop(process, patience)
        finally:
            writer.close()


async def _spawn(link: socket.socket, orders: Orders) -> asyncio.subprocess.Process:
    # -P: a project's own files must not stand in for modules that we import.
    command = [sys.executable, "-P", "-m", "threadline.cli", "child", str(link.fileno())]
    descriptors = (link.fileno(), orders.listener)
    # It lets a Ctrl-C in once it can act on it; until then Python would tell where its imports were interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, pass_fds=descriptors)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


async def _stop(process: asyncio.subprocess.Process, patience: timedelta) -> None:
    """Have it drain and end; one that does not is killed."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(patience.total_seconds()):
            await process.wait()
    except TimeoutError:
        logger.error("child.killed", extra={"pid": process.pid, "waited": patience.total_seconds()})
        process.kill()
        await process.wait()


def _describe_exit(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _describe_failure(report: Report | None, code: int) -> str:
    said = report.failure if report and report.failure else f"it ended with {_describe_exit(code)}; see its log above"
    return f"A child process could not be started, {START_ATTEMPTS} times in a row: {said}"
