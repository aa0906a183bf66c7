"""Owns the processes of a sitting: which there are, and how each is started, killed, stopped and told to end."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from threadline.tests.faults.database import LabDatabase
from threadline.tests.faults.launcher import CLOCK, WITHOUT, write_offset
from threadline.tests.faults.links import Relay, Target, open_relay
from threadline.tests.laboratory.locks import until
from threadline.tests.process.programs import Program, free_port, is_alive, launch

LAUNCHER = (sys.executable, "-P", "-m", "threadline.tests.faults.launcher")
SIGNS = {"api": "api.ready", "worker": "worker.ready", "serve": "serve.ready"}
PATIENCE = 180.0  # seconds for a start or a stop, on a machine that is busy
# Nobody is given up for having died often: here it is never the run's own fault.
SETTINGS = {"THREADLINE_MAX_ATTEMPTS": "1000", "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": "6"}


@dataclass
class Member:
    """One process and its way to the database. `role` is its command; `busy` is held by whoever does it harm."""

    name: str
    role: str
    relay: Relay
    environment: Mapping[str, str]
    folder: Path
    port: int = 0
    workers: int = 0
    program: Program | None = None
    lives: int = 0
    crashes: list[str] = field(default_factory=list)  # ends that nobody asked for, after a start that went well
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def executes(self) -> bool:
        return self.role != "api"

    @property
    def clock(self) -> Path:
        """The file that sets its clock."""
        return self.folder / f"{self.name}.clock"

    @property
    def is_up(self) -> bool:
        return self.program is not None and self.program.process.poll() is None

    async def start(self) -> None:
        """Start it and wait until it does its work; where it gives up, once more, as any supervisor would."""
        deadline = time.monotonic() + PATIENCE
        while not await self._start():
            assert self.program is not None
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not start:\n{self.program.said()[-4000:]}")

    def note_end(self) -> None:
        """Look how it ended, if it has: told to, killed, or by itself."""
        if self.program is None or not self._is_ready():
            return
        code = self.program.process.poll()
        if code not in (None, 0, -signal.SIGKILL):
            self.crashes.append(f"{self.name} ended with {code} in its life {self.lives}")

    async def _start(self) -> bool:
        self.note_end()
        write_offset(self.clock, 0.0)
        arguments = [self.role, "--config", str(self.folder / "langgraph.json")]
        if self.role != "worker":
            arguments += ["--port", str(self.port)]
        if self.role == "serve":
            arguments += ["--workers", str(self.workers)]
        self.lives += 1
        name = f"{self.name}-{self.lives}"
        self.program = launch(arguments, self.folder, {**self.environment, CLOCK: str(self.clock)}, name, LAUNCHER)
        await until(lambda: not self.is_up or self._is_ready(), f"{name} is ready", PATIENCE)
        return self.is_up

    def _is_ready(self) -> bool:
        return self.program is not None and SIGNS[self.role] in self.program.said()

    def pids(self) -> list[int]:
        """The processes that execute runs for it."""
        if not self.is_up or self.program is None:
            return []
        return self.program.children() if self.role == "serve" else [self.program.pid]

    async def kill(self) -> None:
        """End all of it at once, its helpers included."""
        if self.program is not None:
            await asyncio.to_thread(self.program.kill)

    def kill_only(self, pid: int) -> None:
        """End one process of it; its helpers notice by themselves, and `serve` replaces a child."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if self.program is not None and pid == self.program.pid:
            self.program.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it to every process that executes for it."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def stop(self) -> int:
        """Tell it to end in order; returns its exit code."""
        assert self.program is not None
        if self.is_up:
            self.program.signal(signal.SIGTERM)
        return await self.program.ended(PATIENCE)

    async def replaced(self, before: Sequence[int]) -> None:
        """Wait until `serve` has as many children as it should, none of which is of those that were killed."""
        await until(
            lambda: len(pids := self.pids()) == self.workers and not set(pids) & set(before),
            f"{self.name} replaces its child",
            PATIENCE,
        )


class Roster:
    """All members of a sitting, and one address in front of those that serve clients."""

    def __init__(self, members: list[Member], front: Relay) -> None:
        self.members = members
        self.front = front

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front.port}"

    @property
    def executing(self) -> list[Member]:
        return [member for member in self.members if member.executes]

    async def start(self) -> None:
        """Start whoever is not up."""
        await asyncio.gather(*(member.start() for member in self.members if not member.is_up))

    def heal(self) -> None:
        """Let everybody run, over good networks. Wrong clocks stay: nobody sets them right in life either."""
        self.front.heal()
        for member in self.members:
            member.relay.heal()
            member.signal(signal.SIGCONT)

    async def close(self) -> None:
        """End everything that was started."""
        await asyncio.gather(*(member.kill() for member in self.members if member.is_up))

    async def gone(self, pids: Sequence[int]) -> None:
        """Wait until these processes are gone."""
        await until(lambda: not any(is_alive(pid) for pid in pids), f"{pids} end", PATIENCE)


@asynccontextmanager
async def open_roster(
    database: LabDatabase, folder: Path, roles: Sequence[tuple[str, int]], guard: str = ""
) -> AsyncIterator[Roster]:
    """Have members for the length of the block: one for each role, with so many children; none is started yet."""
    members: list[Member] = []

    def serving() -> list[Target]:
        return [member.port for member in members if member.port and member.is_up]

    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(open_relay(serving))
        for number, (role, workers) in enumerate(roles, 1):
            relay = await stack.enter_async_context(open_relay(lambda: [database.socket]))
            environment = {**SETTINGS, "DATABASE_URL": database.conninfo_through(relay.port)}
            if guard:
                environment[WITHOUT] = guard
            port = 0 if role == "worker" else free_port()
            members.append(Member(f"{role}-{number}", role, relay, environment, folder, port, workers))
        roster = Roster(members, front)
        try:
            yield roster
        finally:
            roster.heal()
            await roster.close()
