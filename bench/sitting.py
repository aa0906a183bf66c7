"""Owns a sitting: all contenders up at once, measured in rounds, slice by slice in turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from threadline.bench.contenders import SERVER_1, Case, Contender, Opened, Result, list_cases, open_contender
from threadline.bench.postgres import Postgres
from threadline.bench.slices import Measure, Order

WARM_UP_CLIENTS = 32
FEW_STREAMS, MANY_STREAMS = 100, 500

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a sitting takes: `seconds` per slice, one slice of each case per round."""

    rounds: int
    seconds: float


@dataclass(slots=True)
class Results:
    """Everything that a sitting measured; the results of a case are in the order of the rounds."""

    cases: dict[Case, list[Result]] = field(default_factory=dict)
    stream_bytes: float | None = None


@asynccontextmanager
async def _open_all(contenders: Sequence[Contender], postgres: Postgres, folder: Path) -> AsyncIterator[list[Opened]]:
    """Bring them up side by side, and down likewise: most of it is waiting for imports."""
    opened: list[asyncio.Future[Opened]] = [asyncio.Future() for _ in contenders]
    over = asyncio.Event()

    async def keep(contender: Contender, up: "asyncio.Future[Opened]") -> None:
        async with open_contender(contender, postgres, folder) as found:
            up.set_result(found)
            await over.wait()

    try:
        async with asyncio.TaskGroup() as group:
            for contender, up in zip(contenders, opened, strict=True):
                group.create_task(keep(contender, up), name=contender.name)
            yield [await up for up in opened]
            over.set()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def hold_sitting(
    plan: Plan, contenders: Sequence[Contender], postgres: Postgres, folder: Path, tell: Tell
) -> Results:
    """Measure every case of these contenders once per round. Raises ContenderFailed.

    Every other round goes backwards, so that what drifts during the sitting meets all of them alike.
    """
    results = Results()
    tell(f"starting: {', '.join(contender.name for contender in contenders)}")
    async with _open_all(contenders, postgres, folder) as opened:
        by_contender = {each.contender: each for each in opened}
        for each in opened:
            tell(f"warming up: {each.contender.title}")
            await each.measure(Order(Measure.RUNS, WARM_UP_CLIENTS, min(plan.seconds, 2.0)))
        if SERVER_1 in by_contender:
            tell(f"idle streams: {SERVER_1.title}")
            results.stream_bytes = await _weigh_streams(by_contender[SERVER_1], plan.seconds)
        cases = list_cases(contenders)
        for number in range(plan.rounds):
            tell(f"round {number + 1} of {plan.rounds}")
            for case in cases if number % 2 == 0 else reversed(cases):
                result = await by_contender[case.contender].measure(Order(case.measure, case.clients, plan.seconds))
                results.cases.setdefault(case, []).append(result)
    return results


async def _weigh_streams(server: Opened, seconds: float) -> float | None:
    """Return the bytes that an open stream costs, from two numbers of them: what the first ever cost cancels out."""
    peaks = []
    for streams in (FEW_STREAMS, MANY_STREAMS):
        result = await server.measure(Order(Measure.IDLE, streams, min(seconds, 1.0)))
        peaks.append(result.usage.peak_bytes)
    if 0 in peaks:
        return None
    return (peaks[1] - peaks[0]) / (MANY_STREAMS - FEW_STREAMS)
