"""Owns one slice of measurement: clients that each start a run when their last one ended, and what came of it.

Which contender a slice is taken of, and how slices become a table, is left to `run` and `report`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from time import perf_counter, process_time


class Measure(StrEnum):
    """What the clients of a slice do."""

    RUNS = "runs"  # wait for runs of the three-node graph
    FIRST_EVENT = "first event"  # stream them, and note when the first events come
    BURST = "burst"  # stream runs whose node emits as many events as it can
    IDLE = "idle"  # hold streams open on which nothing happens


@dataclass(frozen=True, slots=True)
class Order:
    """A slice to measure; no run is started after `seconds`."""

    measure: Measure
    clients: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """A run that ended with the right result; times are seconds after its start."""

    events: int = 0
    first_event: float | None = None
    first_values: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What a slice came to. `seconds` last until the last run ended; `cpu_seconds` are the measuring process's."""

    runs: int
    events: int
    seconds: float
    cpu_seconds: float
    latency: float | None = None  # medians, in seconds
    first_event: float | None = None
    first_values: float | None = None


Run = Callable[[], Awaitable[Done]]


async def measure(clients: Sequence[Run], seconds: float) -> Sample:
    """Let every client run one after the other for `seconds`, at least once, and count what ended.

    Runs that are under way at the end are waited for and counted, and so is the time that takes: cutting them
    off would favour nobody in particular, but would count the slow contenders in leaps.
    """
    finished: list[tuple[float, Done]] = []

    async def keep_running(run: Run) -> None:
        while True:
            began = perf_counter()
            done = await run()
            ended = perf_counter()
            finished.append((ended - began, done))
            if ended >= end:
                return

    cpu, start = process_time(), perf_counter()
    end = start + seconds
    try:
        async with asyncio.TaskGroup() as group:
            for number, run in enumerate(clients):
                group.create_task(keep_running(run), name=f"client/{number}")
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the others fail for the same reason
    return Sample(
        runs=len(finished),
        events=sum(done.events for _, done in finished),
        seconds=perf_counter() - start,
        cpu_seconds=process_time() - cpu,
        latency=median(latency for latency, _ in finished),
        first_event=_median([done.first_event for _, done in finished]),
        first_values=_median([done.first_values for _, done in finished]),
    )


def _median(times: Sequence[float | None]) -> float | None:
    known = [time for time in times if time is not None]
    return median(known) if known else None
