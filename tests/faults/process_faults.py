"""Owns the faults of processes: killed, stopped, restarted, with a wrong clock, held up by bad code."""

import asyncio
import random
import signal
import time
from uuid import uuid4

from threadline.tests.faults.clients import follow_plainly
from threadline.tests.faults.launcher import write_offset
from threadline.tests.faults.members import Member
from threadline.tests.faults.orders import Kind, Order
from threadline.tests.faults.site import LEASE, NOBODY, Site


async def kill_worker(site: Site, chance: random.Random) -> str:
    """Its lease keeper sees that, and says so."""
    return await _kill_worker(site, chance, "kill -9 of a worker", alone=True)


async def kill_worker_and_keeper(site: Site, chance: random.Random) -> str:
    """Nobody is left to say so."""
    return await _kill_worker(site, chance, "kill -9 of a worker and its lease keeper", alone=False)


async def kill_worker_and_postgres(site: Site, chance: random.Random) -> str:
    """Others wait for the database first."""
    return await _kill_worker(site, chance, "kill -9 of a worker and PostgreSQL", alone=True, database=True)


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
        await site.note_loss("kill -9 of serve with its children", member.pids())
        await member.kill()
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
    member = site.choose(chance, "api", "serve")
    if member is None:
        return NOBODY
    async with member.busy:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(1.0, 4.0))
        member.signal(signal.SIGCONT)
    return member.name


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
    # A process never goes behind its own last id: what the doomed one writes from here on is ahead of the others.
    await asyncio.sleep(1.0)
    return await _kill_worker(site, chance, "kill -9 of a worker", alone=True, member=member)


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


async def _kill_worker(
    site: Site,
    chance: random.Random,
    cause: str,
    *,
    alone: bool,
    database: bool = False,
    member: Member | None = None,
) -> str:
    """Kill one, `alone` or with its keeper, with the database on top if that is to be; then start it again."""
    member = member or site.choose(chance, "worker")
    if member is None or not (pids := member.pids()):
        return NOBODY
    async with member.busy:
        await site.note_loss(cause, pids)
        if alone:
            member.kill_only(pids[0])
        else:
            await member.kill()
        if database:
            await site.database.kill()
        await _start_again(member, chance)
    return member.name


async def _start_again(member: Member, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    await member.start()
