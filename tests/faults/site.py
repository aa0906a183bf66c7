"""Owns what the faults of a sitting are done to: its processes, their database, their clients, and who lost what."""

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from threadline.tests.faults.clients import Notes
from threadline.tests.faults.database import LabDatabase
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


# What it does to the site, decided by chance where there is a choice; returns a few words on it for the journal.
Fault = Callable[[Site, random.Random], Awaitable[str]]
