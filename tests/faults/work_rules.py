"""Owns the rules on the work of nodes: done, reported and repeated only as the durability of their run allows."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from threadline.runs.model import RunStatus
from threadline.tests.faults.facts import History, RunRow

# How many supersteps of an attempt may have begun, and may have to begin again, when its process dies.
AHEAD = {"sync": 1, "async": 5}


def find_repeated_reports(history: History) -> Iterator[str]:
    """Work that was committed is reported once; under `exit`, where an attempt commits nothing, once in each."""
    for row in history.runs:
        reports = Counter(history.reports(row.run_id) if row.durability == "exit" else _works(history, row))
        for report, times in reports.items():
            if times > 1:
                yield f"{row.run_id} ({row.durability}) reports {report} {times} times"


def _works(history: History, row: RunRow) -> Iterator[str]:
    return (work for _, work in history.reports(row.run_id))


def _commits(history: History, row: RunRow) -> dict[str, int]:
    """The attempt in which each piece of work was reported first, which is when it was committed."""
    found: dict[str, int] = {}
    for attempt, work in history.reports(row.run_id):
        found.setdefault(work, attempt)
    return found


def find_missing_work(history: History) -> Iterator[str]:
    """What is reported was done by then, and a run that succeeded reports all that was done last."""
    for row in history.runs:
        done: dict[str, list[int]] = defaultdict(list)
        for effect in history.effects_of_run.get(row.run_id, []):
            if effect.what == "done":
                done[effect.work].append(effect.attempt)
        reported = list(history.reports(row.run_id))
        for attempt, work in reported:
            if min(done[work], default=attempt + 1) > attempt:
                yield f"{row.run_id} reports {work} in attempt {attempt}, which was done in {done[work]}"
        if row.status == RunStatus.SUCCESS:
            for work in set(done) - {work for _, work in reported}:
                yield f"{row.run_id} ({row.durability}) has done {work} and never reported it"


def find_repeated_work(history: History) -> Iterator[str]:
    """An attempt starts a piece of work once, and none that an earlier one has committed."""
    for row in history.runs:
        committed = {} if row.durability == "exit" else _commits(history, row)
        starts = Counter(
            (effect.work, effect.attempt)
            for effect in history.effects_of_run.get(row.run_id, [])
            if effect.what == "started"
        )
        for (work, attempt), times in starts.items():
            if times > 1:
                yield f"{row.run_id}: attempt {attempt} starts {work} {times} times"
            if attempt > committed.get(work, attempt):
                yield f"{row.run_id}: attempt {attempt} starts {work}, which attempt {committed[work]} has committed"


def find_runs_ahead(history: History) -> Iterator[str]:
    """Of what an attempt has begun, no more supersteps are left to a later one than the durability says."""
    for row in history.runs:
        allowed = AHEAD.get(row.durability)
        if allowed is None:
            continue
        committed = _commits(history, row)
        lost: dict[int, set[str]] = defaultdict(set)
        for effect in history.effects_of_run.get(row.run_id, []):
            if effect.what == "started" and committed.get(effect.work, row.attempt + 1) > effect.attempt:
                lost[effect.attempt].add(effect.superstep)
        for attempt, supersteps in lost.items():
            if len(supersteps) > allowed:
                yield f"{row.run_id} ({row.durability}): attempt {attempt} was {len(supersteps)} supersteps ahead"


def find_other_states(history: History) -> Iterator[str]:
    """A run that had its thread to itself succeeds, in the state in which an undisturbed one of its kind ends."""
    statuses = {row.run_id: row.status for row in history.runs}
    for run in history.accepted:
        if not run.is_compared or run.instead_of in statuses:
            continue
        if (status := statuses.get(run.run_id)) != RunStatus.SUCCESS:
            yield f"{run.run_id} ({run.kind}) ended as {status}"
        elif (values := history.values.get(run.thread_id)) != history.calm[run.kind]:
            yield f"{run.run_id} ({run.kind}) ended with {values}, a calm one with {history.calm[run.kind]}"
