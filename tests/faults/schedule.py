"""Owns which fault comes when: decided by a seed alone, before anything has happened."""

import random
from collections.abc import Sequence
from typing import NamedTuple

LEAD = 3.0  # seconds of calm before the first fault
PAIRED = 0.25  # of the faults come with another one on their heels


class Moment(NamedTuple):
    """A fault that is due so many seconds after the start, and the seed of what it decides itself."""

    due: float
    fault: str
    seed: int


def make_rounds(seed: int, rounds: int, faults: Sequence[str]) -> list[Moment]:
    """Return each fault so many times, round by round; when it comes is left to who plays it."""
    chance = random.Random(seed)
    return [Moment(0.0, fault, chance.randrange(2**32)) for _ in range(rounds) for fault in faults]


def make_schedule(seed: int, seconds: float, faults: Sequence[str], pace: float) -> list[Moment]:
    """Return the moments of a sitting; `pace` is the mean of the seconds between two.

    Each fault comes once before any comes again.
    """
    chance = random.Random(seed)
    moments: list[Moment] = []
    round_: list[str] = []
    due = LEAD
    while due < seconds:
        for _ in range(2 if chance.random() < PAIRED else 1):
            if not round_:
                round_ = list(faults)
                chance.shuffle(round_)
            moments.append(Moment(round(due, 2), round_.pop(), chance.randrange(2**32)))
            due += chance.uniform(0.0, 0.5)
        due += chance.uniform(0.5, 1.5) * pace
    return moments
