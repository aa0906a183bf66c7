"""Owns how a sitting is told: what was done to how many runs, what was violated, and how long runs stood still."""

from collections.abc import Iterator

from threadline.tests.faults.checker import ANSWERS, CLIENTS, PROCESSES, RULES, count_by_rule
from threadline.tests.faults.recovery import Recovery
from threadline.tests.faults.sitting import Sitting

SHOWN = 20  # violations


def describe(sitting: Sitting) -> str:
    """Return the report, as Markdown."""
    return "\n".join(
        [*_summarise(sitting), "", *_list_faults(sitting), "", *_judge(sitting), "", *tell(sitting.recoveries)]
    )


def _summarise(sitting: Sitting) -> Iterator[str]:
    history, notes = sitting.history, sitting.notes
    events = sum(len(row.events) for row in history.log)
    again = sum(max(0, row.attempt - 1) for row in history.runs)
    plan = sitting.plan
    length = f"{plan.rounds} rounds" if plan.rounds else f"{plan.seconds:g} s"
    yield f"Seed {plan.seed}, {length}, {plan.clients} clients."
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| runs accepted | {len(notes.accepted):,} |"
    yield f"| requests without an answer | {notes.unanswered:,} |"
    yield f"| events logged | {events:,} |"
    yield f"| effects of nodes | {len(history.effects):,} |"
    yield f"| attempts after the first | {again:,} |"
    yield f"| cuts that clients came back from | {notes.cuts:,} |"


def _list_faults(sitting: Sitting) -> Iterator[str]:
    yield "| fault | times |"
    yield "|---|---|"
    for fault in sitting.plan.faults:
        done = "not run: no small disk can be mounted here" if fault in sitting.left_out else sitting.times[fault]
        yield f"| {fault} | {done} |"


def _judge(sitting: Sitting) -> Iterator[str]:
    counts = count_by_rule(sitting.violations)
    yield "| rule | violations |"
    yield "|---|---|"
    for rule in (*RULES, ANSWERS, CLIENTS, PROCESSES):
        yield f"| {rule} | {counts[rule]} |"
    if sitting.violations:
        yield ""
        yield f"Kept in {sitting.folder}:"
        for violation in sitting.violations[:SHOWN]:
            yield f"- {violation.rule}: {violation.what}"


def tell(recoveries: list[Recovery]) -> Iterator[str]:
    """Yield the table of recoveries."""
    yield "| runs lost by | runs | next attempt after, median | longest |"
    yield "|---|---|---|---|"
    for each in recoveries:
        yield f"| {each.cause} | {len(each.samples)} | {each.median:.2f} s | {each.longest:.2f} s |"
