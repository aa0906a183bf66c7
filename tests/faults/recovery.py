"""Owns how long runs stand still: from the loss of their process to the start of their next attempt."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

import orjson

from threadline.tests.faults.facts import METADATA, History


class Loss(NamedTuple):
    """When runs lost their process, in seconds since the epoch, by what, and which, with their attempts."""

    time: float
    cause: str
    attempts: dict[str, int]


class Recovery(NamedTuple):
    """How long the runs took that lost their process by one cause."""

    cause: str
    samples: list[float]

    @property
    def median(self) -> float:
        return median(self.samples)

    @property
    def longest(self) -> float:
        return max(self.samples)


def measure(history: History, losses: Sequence[Loss], outages: Iterable[tuple[float, float]] = ()) -> list[Recovery]:
    """Return the recoveries by cause. What falls into an outage of the database counts from its end."""
    outages = list(outages)
    samples: dict[str, list[float]] = defaultdict(list)
    for loss in losses:
        for run_id, attempt in loss.attempts.items():
            start = _find_start(history, run_id, attempt + 1)
            if start is not None:
                samples[loss.cause].append(max(0.0, start - _end_of_outage(loss.time, start, outages)))
    return [Recovery(cause, found) for cause, found in sorted(samples.items())]


def _find_start(history: History, run_id: str, attempt: int) -> float | None:
    for event in history.events_of_run.get(run_id, ()):
        if event.name == METADATA and orjson.loads(event.data)["attempt"] == attempt:
            return event.time
    return None


def _end_of_outage(lost: float, started: float, outages: Iterable[tuple[float, float]]) -> float:
    """The moment of the loss, or the end of the last outage that lay between it and the start."""
    return max([lost, *(until for since, until in outages if until > lost and until <= started and since < started)])
