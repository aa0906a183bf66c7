"""Owns playing a schedule: each fault when it is due, or in turn, each when everybody has got over the one before."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psycopg

from threadline.tests.faults.faults import FAULTS
from threadline.tests.faults.schedule import Moment
from threadline.tests.faults.site import NOBODY, Site
from threadline.tests.laboratory.locks import until

logger = logging.getLogger("faults")

# Whoever is to declare others dead has held its own lease for one lease; so has the server been up.
_STEADY = """
    select count(*) >= %s and coalesce(bool_and(steady_since < clock_timestamp() - interval '4 s'
        and calm_since < clock_timestamp() - interval '4 s'), false)
        and pg_postmaster_start_time() < clock_timestamp() - interval '4 s'
    from processes where not gone and leased_until > clock_timestamp()
"""
PATIENCE = 180.0  # seconds until everybody has got over a fault


class Journal:
    """What was done and when, in a file and in the log; `times` counts each fault that was done."""

    def __init__(self, file: Path) -> None:
        self.times: Counter[str] = Counter()
        self._file = file
        self._began = time.monotonic()

    def write(self, text: str) -> None:
        """Put down a line."""
        line = f"{time.monotonic() - self._began:7.2f}  {text}"
        logger.info(line)
        with self._file.open("a") as file:
            file.write(f"{line}\n")


async def play(site: Site, schedule: Sequence[Moment], seconds: float, journal: Journal) -> None:
    """Let each fault come when it is due, whatever became of those before; takes so many seconds at least."""
    began = time.monotonic()

    async def play_at_its_time(moment: Moment) -> None:
        await asyncio.sleep(max(0.0, began + moment.due - time.monotonic()))
        await _do(site, moment, journal)

    async with asyncio.TaskGroup() as group:
        for moment in schedule:
            group.create_task(play_at_its_time(moment), name=moment.fault)
        group.create_task(asyncio.sleep(seconds))


async def play_in_turn(site: Site, schedule: Sequence[Moment], journal: Journal) -> None:
    """Let each fault come when everybody is up, and has been for a lease."""
    for moment in schedule:
        await until(lambda: _is_steady(site), "everybody is steady", PATIENCE)
        await _do(site, moment, journal)
    await until(lambda: _is_steady(site), "everybody is steady", PATIENCE)


async def _do(site: Site, moment: Moment, journal: Journal) -> None:
    journal.write(moment.fault)
    try:
        said = await FAULTS[moment.fault](site, random.Random(moment.seed))
        journal.times[moment.fault] += said != NOBODY
    except psycopg.Error as error:  # what it would have asked of the database has to be left
        said = f"could not be done: {error}"
    journal.write(f"{moment.fault}: {said}")


async def _is_steady(site: Site) -> bool:
    processes = sum(member.workers or 1 for member in site.roster.members)
    try:
        return bool((await site.database.rows(_STEADY, processes))[0][0])
    except psycopg.Error:
        return False
