"""Owns the faults of what processes depend on: PostgreSQL, its disk, the way to it, and the way to clients."""

import asyncio
import random

from threadline.tests.faults.site import LEASE, NOBODY, Site


async def kill_postgres(site: Site, chance: random.Random) -> str:
    await site.database.kill()
    return "its processes ended by themselves"


async def restart_postgres(site: Site, chance: random.Random) -> str:
    await site.database.restart()
    return "stopped in order and started"


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
    return site.roster.front.cut(chance, chance.uniform(0.3, 1.0))


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


async def fill_disk(site: Site, chance: random.Random) -> str:
    seconds = chance.uniform(2.0, 5.0)
    await site.database.fill_disk(seconds)
    return f"for {seconds:.1f} s"
