"""Owns the faults: what each does to the processes, the database, the network and the clocks of a sitting.

Each returns a sentence on what it did, for the sitting's journal; when it comes is `schedule`'s.
"""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from threadline.tests.faults.clients import Kind, Notes, Order, follow_plainly
from threadline.tests.faults.database import LabDatabase
from threadline.tests.faults.launcher import write_offset
from threadline.tests.faults.members import Member, Roster
from threadline.tests.faults.recovery import Loss
from threadline.tests.process.deployments import Clients

LEASE = 3.0  # seconds, the default
NOBODY = "there was nobody to do it to"


@dataclass
class Site:
    """What faults are done to. `block` is for how many seconds bad code holds a process up."""

    database: LabDatabase
    roster: Roster
    clients: Clients
    notes: Notes
    block: float
    losses: list[Loss] = field(default_factory=list)

    def choose(self, chance: random.Random, *roles: str) -> Member | None:
        """A member of these roles that is up, and that nobody else does harm to."""
        free = [each for each in self.roster.members if each.role in roles and each.is_up and not each.busy.locked()]
        return chance.choice(free) if free else None

    async def note_loss(self, cause: str, pids: Sequence[int]) -> None:
        """Note that these processes lose their runs now; call it just before."""
        attempts = await self.database.runs_of(list(pids))
        self.losses.append(Loss(time.time(), cause, attempts))


Fault = Callable[[Site, random.Random], Awaitable[str]]


async def kill_worker(site: Site, chance: random.Random) -> str:
    """With its lease keeper, or leaving that to see it."""
    member = site.choose(chance, "worker")
    if member is None:
        return NOBODY
    async with member.busy:
        alone = chance.random() < 0.5
        await _kill(site, member, "kill -9 of a worker", alone=alone)
        await _start_again(member, chance)
    return f"{member.name}, {'its keeper lived on' if alone else 'with its keeper'}"


async def kill_api(site: Site, chance: random.Random) -> str:
    member = site.choose(chance, "api")
    if member is None:
        return NOBODY
    async with member.busy:
        await member.kill()
        await _start_again(member, chance)
    return member.name


async def kill_child(site: Site, chance: random.Random) -> str:
    member = site.choose(chance, "serve")
    if member is None or not (pids := member.pids()):
        return NOBODY
    async with member.busy:
        pid = chance.choice(pids)
        await site.note_loss("kill -9 of a child of serve", [pid])
        member.kill_only(pid)
        await member.replaced([pid])
    return f"a child of {member.name}"


async def kill_serve(site: Site, chance: random.Random) -> str:
    member = site.choose(chance, "serve")
    if member is None:
        return NOBODY
    async with member.busy:
        await _kill(site, member, "kill -9 of serve with its children", alone=False)
        await _start_again(member, chance)
    return member.name


async def kill_everybody(site: Site, chance: random.Random) -> str:
    """All processes but the database's, at once."""
    members = [member for member in site.roster.members if member.is_up and not member.busy.locked()]
    for member in members:
        await member.busy.acquire()
    try:
        await asyncio.gather(*(member.kill() for member in members))
        await asyncio.gather(*(member.start() for member in members))
    finally:
        for member in members:
            member.busy.release()
    return ", ".join(member.name for member in members)


async def kill_postgres(site: Site, chance: random.Random) -> str:
    await site.database.kill()
    return "its processes ended by themselves"


async def restart_postgres(site: Site, chance: random.Random) -> str:
    await site.database.restart()
    return "stopped in order and started"


async def stop_worker(site: Site, chance: random.Random) -> str:
    """It does not know that it slept, and goes on where it was."""
    member = site.choose(chance, "worker", "serve")
    if member is None or not (pids := member.pids()):
        return NOBODY
    async with member.busy:
        seconds = LEASE + chance.uniform(0.5, 4.0)
        await site.note_loss("SIGSTOP (a lease has to pass)", pids)
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        member.signal(signal.SIGCONT)
    return f"{member.name} for {seconds:.1f} s"


async def stop_api(site: Site, chance: random.Random) -> str:
    member = site.choose(chance, "api")
    if member is None:
        return NOBODY
    async with member.busy:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(1.0, 4.0))
        member.signal(signal.SIGCONT)
    return member.name


async def terminate_connections(site: Site, chance: random.Random) -> str:
    count = await site.database.terminate(chance, chance.uniform(0.2, 1.0))
    return f"{count} of them"


async def cut_database(site: Site, chance: random.Random) -> str:
    member = chance.choice(site.roster.members)
    return f"{member.relay.cut(chance, chance.uniform(0.3, 1.0))} of {member.name}"


async def lose_answers(site: Site, chance: random.Random) -> str:
    """The server has done what it was asked for, and nobody is told."""
    member = chance.choice(site.roster.executing)
    member.relay.lose_answers(chance.randint(1, 5))
    await asyncio.sleep(1.0)
    return f"of {member.name}"


async def slow_database(site: Site, chance: random.Random) -> str:
    member = chance.choice(site.roster.members)
    member.relay.delay = chance.uniform(0.02, 0.3)
    await asyncio.sleep(chance.uniform(2.0, 6.0))
    member.relay.heal()
    return f"{member.name}"


async def half_open_database(site: Site, chance: random.Random) -> str:
    """The server has forgotten the process, which has not been told."""
    member = chance.choice(site.roster.members)
    seconds = chance.uniform(1.0, 8.0)
    await site.note_loss("connections left half open", member.pids() if member.executes else [])
    member.relay.leave_half_open()
    await asyncio.sleep(seconds)
    member.relay.heal()
    return f"{member.name} for {seconds:.1f} s"


async def freeze_database(site: Site, chance: random.Random) -> str:
    """Nothing arrives, and nobody is told."""
    member = chance.choice(site.roster.members)
    seconds = chance.uniform(1.0, 6.0)
    member.relay.freeze()
    await asyncio.sleep(seconds)
    member.relay.heal()
    return f"{member.name} for {seconds:.1f} s"


async def cut_worker_off(site: Site, chance: random.Random) -> str:
    """Nothing of it arrives until long after its runs are another's; then all of it does."""
    member = site.choose(chance, "worker", "serve")
    if member is None:
        return NOBODY
    async with member.busy:
        seconds = LEASE + chance.uniform(2.0, 5.0)
        await site.note_loss("the way to PostgreSQL silent (a lease has to pass)", member.pids())
        member.relay.freeze()
        await asyncio.sleep(seconds)
        member.relay.heal()
    return f"{member.name} for {seconds:.1f} s"


async def cut_clients(site: Site, chance: random.Random) -> str:
    return f"{site.roster.front.cut(chance, chance.uniform(0.3, 1.0))} connections"


async def slow_clients(site: Site, chance: random.Random) -> str:
    site.roster.front.delay = chance.uniform(0.02, 0.2)
    await asyncio.sleep(chance.uniform(2.0, 5.0))
    site.roster.front.heal()
    return "all of them"


async def half_open_clients(site: Site, chance: random.Random) -> str:
    site.roster.front.leave_half_open()
    await asyncio.sleep(chance.uniform(1.0, 4.0))
    site.roster.front.heal()
    return "all of them"


async def jump_clock(site: Site, chance: random.Random) -> str:
    member = site.choose(chance, "worker")
    if member is None:
        return NOBODY
    seconds = chance.choice([-1, 1]) * 10 ** chance.uniform(0, 3.5)
    write_offset(member.clock, seconds)
    return f"{member.name} by {seconds:+.0f} s"


async def hand_to_late_clocks(site: Site, chance: random.Random) -> str:
    """Whoever takes the runs of the killed one over has a clock that is behind."""
    member = site.choose(chance, "worker")
    if member is None:
        return NOBODY
    for other in site.roster.members:
        if other is not member:
            write_offset(other.clock, -60.0)
    async with member.busy:
        await _kill(site, member, "kill -9 of a worker", alone=True)
        await _start_again(member, chance)
    return member.name


async def restart_all(site: Site, chance: random.Random) -> str:
    """As a deployment does: each is told to end, and started again."""
    told = []
    for member in site.roster.members:
        async with member.busy:
            if member.is_up:
                began = time.monotonic()
                code = await member.stop()
                told.append(f"{member.name} ended with {code} after {time.monotonic() - began:.1f} s")
                await member.start()
    return ", ".join(told)


async def block_loop(site: Site, chance: random.Random) -> str:
    """A node that holds its process up; the run that does it must end well, too."""
    seconds = chance.uniform(0.5, 1.0) * site.block
    order = Order(Kind("blocking", {"pace": seconds}), "async", str(uuid4()))
    await follow_plainly(site.clients.http, site.notes, "the one with bad code", order)
    return f"for {seconds:.1f} s"


async def fill_disk(site: Site, chance: random.Random) -> str:
    seconds = chance.uniform(2.0, 5.0)
    await site.database.fill_disk(seconds)
    return f"for {seconds:.1f} s"


async def _kill(site: Site, member: Member, cause: str, *, alone: bool) -> None:
    pids = member.pids()
    await site.note_loss(cause, pids)
    if alone:
        member.kill_only(pids[0])
    else:
        await member.kill()


async def _start_again(member: Member, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    await member.start()


FAULTS: dict[str, Fault] = {
    "kill -9 of a worker": kill_worker,
    "kill -9 of an API": kill_api,
    "kill -9 of a child of serve": kill_child,
    "kill -9 of serve with its children": kill_serve,
    "kill -9 of every process": kill_everybody,
    "kill -9 of PostgreSQL": kill_postgres,
    "PostgreSQL restarted": restart_postgres,
    "a worker stopped beyond its lease": stop_worker,
    "an API stopped": stop_api,
    "connections ended by PostgreSQL": terminate_connections,
    "connections to PostgreSQL cut": cut_database,
    "answers of PostgreSQL lost": lose_answers,
    "the way to PostgreSQL slow": slow_database,
    "connections to PostgreSQL left half open": half_open_database,
    "the way to PostgreSQL silent": freeze_database,
    "a worker cut off beyond its lease": cut_worker_off,
    "clients cut": cut_clients,
    "clients slow": slow_clients,
    "clients left half open": half_open_clients,
    "a worker's clock jumps": jump_clock,
    "taken over by late clocks": hand_to_late_clocks,
    "every process restarted in turn": restart_all,
    "an event loop blocked": block_loop,
    "the disk full": fill_disk,
}
