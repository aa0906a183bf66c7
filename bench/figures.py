"""Owns what slices come to: one figure per case with its spread, and ratios taken round by round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from threadline.bench.contenders import BURST_CLIENTS, ENGINE, OFFICIAL, SERVER_1, SERVER_2, Case, Contender, Result
from threadline.bench.sitting import Results
from threadline.bench.slices import Measure

Read = Callable[[Result], float | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of the rounds, with the least and the greatest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure of this sitting should be; `met` is None where it was not measured."""

    text: str
    value: float | None
    met: bool | None


def runs_per_second(result: Result) -> float:
    """How many runs ended, per second."""
    return result.sample.runs / result.sample.seconds


def events_per_second(result: Result) -> float:
    """How many events reached the clients, per second."""
    return result.sample.events / result.sample.seconds


def latency_ms(result: Result) -> float | None:
    """How long half of the runs took at most."""
    return _milliseconds(result.sample.latency)


def first_event_ms(result: Result) -> float | None:
    """How long half of the streams took at most to show their first event."""
    return _milliseconds(result.sample.first_event)


def first_values_ms(result: Result) -> float | None:
    """The same for the first event that the graph itself emitted."""
    return _milliseconds(result.sample.first_values)


def cpu_ms(result: Result) -> float | None:
    """CPU time of the contender's processes per run; PostgreSQL's and the clients' own is not in it."""
    spent = sum(result.usage.cpu_seconds)
    return spent / result.sample.runs * 1000 if spent else None


def busiest_percent(result: Result) -> float | None:
    """The part of the contender's CPU time that its busiest process had; 100 over their number is the ideal."""
    spent = result.usage.cpu_seconds
    return spent[0] / sum(spent) * 100 if sum(spent) else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def figure(results: Results, case: Case, read: Read) -> Figure | None:
    """Return what a case came to; None if it was not measured."""
    return _summarise([read(result) for result in results.cases.get(case, ())])


def ratio(results: Results, case: Case, base: Case, read: Read) -> Figure | None:
    """Return a case's figure relative to another's, of the same round each time; None if either is missing."""
    pairs = zip(results.cases.get(case, ()), results.cases.get(base, ()), strict=False)
    read_pairs = [(read(one), read(other)) for one, other in pairs]
    return _summarise([one / other if one and other else None for one, other in read_pairs])


def _summarise(values: Sequence[float | None]) -> Figure | None:
    known = [value for value in values if value is not None]
    return Figure(median(known), min(known), max(known)) if known else None


def runs_case(contender: Contender, clients: int) -> Case:
    """The case of running the steps at so many clients."""
    return Case(contender, Measure.RUNS, clients)


def burst_case(contender: Contender) -> Case:
    """The case of the bursts."""
    return Case(contender, Measure.BURST, BURST_CLIENTS)


def judge(results: Results) -> list[Target]:
    """Compare the sitting with what was set out to be reached."""
    at_32 = ratio(results, runs_case(SERVER_1, 32), runs_case(OFFICIAL, 32), runs_per_second)
    waits = ratio(results, runs_case(SERVER_1, 1), runs_case(ENGINE, 1), latency_ms)
    first = figure(results, Case(SERVER_1, Measure.FIRST_EVENT, 1), first_event_ms)
    children = ratio(results, runs_case(SERVER_2, 128), runs_case(SERVER_1, 128), runs_per_second)
    return [
        _at_least("server, 1 child, over the official saver in process, runs/s at 32 clients", at_32, 2.5),
        _at_most("wait one at a time, server over our engine in process", waits, 2.5),
        _at_most("first event of a stream, milliseconds", first, 10.0),
        _at_least("server, 2 children over 1 child, runs/s at 128 clients", children, 1.2),
    ]


def _at_least(text: str, found: Figure | None, limit: float) -> Target:
    text = f"{text}: at least {limit:g}"
    return Target(text, found.median, found.median >= limit) if found else Target(text, None, None)


def _at_most(text: str, found: Figure | None, limit: float) -> Target:
    text = f"{text}: at most {limit:g}"
    return Target(text, found.median, found.median <= limit) if found else Target(text, None, None)
