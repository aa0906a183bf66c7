"""The checker can fail: of a history that breaks one rule it says so, and of one that breaks none it says nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from threadline.runs.model import NODE_FINISHED, RUN_ENDED
from threadline.tests.faults import archive
from threadline.tests.faults.checker import RULES, check
from threadline.tests.faults.facts import (
    Accepted,
    Answer,
    Checkpoint,
    Effect,
    Event,
    History,
    LogRow,
    Received,
    RunRow,
    Write,
    canonical,
)

RUN, THREAD = "run", "thread"
WORK = ("step0", "step1", "step2")
STATE = canonical({"log": list(WORK)})


def opening(attempt: int) -> tuple[str, object]:
    return "metadata", {"run_id": RUN, "attempt": attempt}


def finished(work: str) -> list[tuple[str, object]]:
    return [
        ("updates", {"count": {"log": [work]}}),
        (NODE_FINISHED, {"id": f"task {work}", "name": "count", "error": None}),
    ]


def make_row(first_seq: int, transaction: int, *events: tuple[str, object]) -> LogRow:
    numbered = tuple(Event(seq, name, canonical(data)) for seq, (name, data) in enumerate(events, first_seq))
    return LogRow(THREAD, first_seq, first_seq + len(events) - 1, RUN, transaction, numbered)


def make_history(durability: str = "sync") -> History:
    """A run of three steps whose process dies once, in the second: nothing is wrong with it."""
    log = (
        make_row(1, 11, opening(1)),
        make_row(2, 12, *finished("step0")),
        make_row(4, 13, opening(2)),
        make_row(5, 14, *finished("step1")),
        make_row(7, 15, *finished("step2")),
        make_row(9, 16, (RUN_ENDED, {"log": list(WORK)})),
    )
    shown = tuple(event for row in log for event in row.events if event.is_shown)
    effects = [
        Effect(RUN, attempt, work, f"0.{work}", what)
        for attempt, work, what in (
            *((1, "step0", "started"), (1, "step0", "done"), (1, "step1", "started")),
            *((2, "step1", "started"), (2, "step1", "done"), (2, "step2", "started"), (2, "step2", "done")),
        )
    ]
    return History(
        accepted=(Accepted(RUN, THREAD, "counting", durability),),
        runs=(RunRow(RUN, THREAD, "success", 2, 9, durability),),
        heads={THREAD: 9},
        log=log,
        received=(Received("client", RUN, shown, True),),
        answers=(Answer("waiter", RUN, STATE),),
        effects=tuple(effects),
        checkpoints=tuple(
            Checkpoint(THREAD, "", f"c{number}", f"c{number - 1}" if number else None, "loop", 11 + number)
            for number in range(4)
        ),
        writes=tuple(Write(THREAD, f"task {work}", "log", 12 + 2 * bool(n) + (n > 1)) for n, work in enumerate(WORK)),
        values={THREAD: STATE},
        calm={"counting": STATE},
    )


Spoil = Callable[[History], History]


def spoil_run(history: History, **changes: Any) -> History:
    return replace(history, runs=(history.runs[0]._replace(**changes),))


def spoil_stream(history: History, change: Callable[[list[Event]], object]) -> History:
    events = list(history.received[0].events)
    change(events)
    return replace(history, received=(history.received[0]._replace(events=tuple(events)),))


def add_effects(history: History, *effects: Effect) -> History:
    return replace(history, effects=(*history.effects, *effects))


def swap(events: list[Event]) -> None:
    events[0], events[1] = events[1], events[0]


def renumber(history: History, position: int, by: int) -> History:
    """Move the numbers of one row."""
    row = history.log[position]
    events = tuple(event._replace(seq=event.seq + by) for event in row.events)
    moved = row._replace(first_seq=row.first_seq + by, last_seq=row.last_seq + by, events=events)
    return replace(history, log=(*history.log[:position], moved, *history.log[position + 1 :]))


def append_row(history: History, *events: tuple[str, object]) -> History:
    """Add events behind all others, and tell head, row and client of them."""
    row = make_row(history.heads[THREAD] + 1, 99, *events)
    longer = replace(history, log=(*history.log, row), heads={THREAD: row.last_seq})
    return spoil_stream(longer, lambda shown: shown.extend(event for event in row.events if event.is_shown))


def repeat_report(history: History) -> History:
    """The report of the first step is in the log of the second attempt, too."""
    row = history.log[3]
    again = Event(0, "updates", canonical({"count": {"log": ["step0"]}}))
    events = tuple(event._replace(seq=seq) for seq, event in enumerate((*row.events, again), row.first_seq))
    later = [
        each._replace(
            first_seq=each.first_seq + 1,
            last_seq=each.last_seq + 1,
            events=tuple(event._replace(seq=event.seq + 1) for event in each.events),
        )
        for each in history.log[4:]
    ]
    log = (*history.log[:3], row._replace(last_seq=row.last_seq + 1, events=events), *later)
    shown = tuple(event for each in log for event in each.events if event.is_shown)
    received = (history.received[0]._replace(events=shown),)
    return spoil_run(replace(history, log=log, heads={THREAD: 10}, received=received), end_seq=10)


def get_ahead(history: History) -> History:
    """The first attempt has begun a superstep more before it died than `sync` lets it."""
    return add_effects(history, Effect(RUN, 1, "step2", "0.step2", "started"))


BROKEN: dict[str, tuple[str, Spoil]] = {
    "an accepted run is gone": (
        "an accepted run reaches a final status",
        lambda history: replace(
            history, accepted=(*history.accepted, Accepted("other", "t", "counting", "sync", False))
        ),
    ),
    "an event comes behind the end": (
        "a run ends once, and nothing of it comes behind its end",
        lambda history: append_row(history, ("custom", 1)),
    ),
    "a run ends twice": (
        "a run ends once, and nothing of it comes behind its end",
        lambda history: append_row(history, (RUN_ENDED, {})),
    ),
    "the head is further than the log": (
        "the numbers of a thread have no hole and no double",
        lambda history: replace(history, heads={THREAD: 10}),
    ),
    "an attempt is opened twice": (
        "attempts are numbered one behind the other",
        lambda history: spoil_run(history, attempt=3),
    ),
    "a client misses an event": (
        "a client has the log: nothing lost, doubled or in another order",
        lambda history: spoil_stream(history, lambda events: events.pop(1)),
    ),
    "a client gets an event twice": (
        "a client has the log: nothing lost, doubled or in another order",
        lambda history: spoil_stream(history, lambda events: events.insert(1, events[1])),
    ),
    "a client gets events in another order": (
        "a client has the log: nothing lost, doubled or in another order",
        lambda history: spoil_stream(history, swap),
    ),
    "a client gets other data": (
        "a client has the log: nothing lost, doubled or in another order",
        lambda history: spoil_stream(history, lambda events: events.append(events.pop()._replace(data="1"))),
    ),
    "a client is never told the end": (
        "a client has the log: nothing lost, doubled or in another order",
        lambda history: replace(history, received=(history.received[0]._replace(has_ended=False),)),
    ),
    "a client that waits is told something else": (
        "a client that waits is told the state of the thread",
        lambda history: replace(history, answers=(Answer("waiter", RUN, "{}"),)),
    ),
    "work is reported twice": ("committed work is reported once", repeat_report),
    "work is reported that nobody did": (
        "what is reported was done, and what a success takes is reported",
        lambda history: replace(history, effects=history.effects[:-1]),
    ),
    "work is done that nobody reports": (
        "what is reported was done, and what a success takes is reported",
        lambda history: add_effects(history, Effect(RUN, 2, "step3", "0.step3", "done")),
    ),
    "an attempt does something twice": (
        "committed work is not done again",
        lambda history: add_effects(history, history.effects[-2]),
    ),
    "committed work is done again": (
        "committed work is not done again",
        lambda history: add_effects(history, Effect(RUN, 2, "step0", "0.step0", "started")),
    ),
    "an attempt gets further ahead than it may": (
        "an attempt is no further ahead of its commits than its durability allows",
        get_ahead,
    ),
    "a run ends in another state": (
        "a run that was disturbed ends in the state of a calm one",
        lambda history: replace(history, calm={"counting": canonical({"log": ["step0"]})}),
    ),
    "a run that should succeed does not": (
        "a run that was disturbed ends in the state of a calm one",
        lambda history: spoil_run(history, status="error"),
    ),
    "a report and its write are two commits": (
        "a report lies in the transaction of its write",
        lambda history: replace(history, writes=(history.writes[0]._replace(transaction=77), *history.writes[1:])),
    ),
    "a report has no write": (
        "a report lies in the transaction of its write",
        lambda history: replace(history, writes=history.writes[1:]),
    ),
    "a late clock mints a checkpoint": (
        "checkpoint ids never go back",
        lambda history: replace(
            history, checkpoints=(*history.checkpoints, Checkpoint(THREAD, "", "b", "c3", "loop", 99))
        ),
    ),
    "a thread has two owners": (
        "a thread's checkpoints are one line",
        lambda history: replace(
            history, checkpoints=(*history.checkpoints, Checkpoint(THREAD, "", "d", "c2", "loop", 99))
        ),
    ),
}


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_history_with_nothing_wrong_has_no_violation(durability: str) -> None:
    assert check(make_history(durability)) == []


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_promise_is_found_and_named(broken: str) -> None:
    rule, spoil = BROKEN[broken]
    assert {violation.rule for violation in check(spoil(make_history()))} == {rule}


def test_every_rule_is_broken_by_some_history() -> None:
    assert {rule for rule, _ in BROKEN.values()} == set(RULES)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_hole_and_an_overlap_in_the_numbers_are_found(by: int) -> None:
    broken = {violation.rule for violation in check(renumber(make_history(), 1, by))}
    assert "the numbers of a thread have no hole and no double" in broken


def test_async_may_be_four_supersteps_further_ahead_and_no_more() -> None:
    history = make_history("async")
    begun = [Effect(RUN, 1, f"later{number}", f"0.{number}", "started") for number in range(5)]
    assert check(add_effects(history, *begun[:4])) == []
    (violation,) = check(add_effects(history, *begun))
    assert "6 supersteps ahead" in violation.what


def test_exit_commits_nothing_before_the_end_so_that_everything_may_come_again() -> None:
    history = make_history("exit")
    again = add_effects(history, *(Effect(RUN, 2, "step0", "0.step0", what) for what in ("started", "done")))
    assert check(replace(again, writes=())) == []


def test_a_run_that_was_rolled_back_may_be_gone_and_no_other() -> None:
    history = make_history()
    gone = Accepted("gone", THREAD, "counting", "sync", is_compared=False, may_go=True)
    assert check(replace(history, accepted=(*history.accepted, gone))) == []
    (violation,) = check(replace(history, accepted=(*history.accepted, replace(gone, may_go=False))))
    assert violation.what == "gone was accepted and is not there"


def test_who_took_the_place_of_a_rolled_back_run_ends_as_if_that_had_never_been() -> None:
    history = replace(make_history(), calm={"counting": canonical({"log": ["step0"]})})
    second = replace(history.accepted[0], instead_of="first")
    (violation,) = check(replace(history, accepted=(second,)))
    assert violation.rule == "a run that was disturbed ends in the state of a calm one"
    # Where the first one had ended before it could be rolled back, nothing is known of the sum of both.
    second = replace(second, instead_of=RUN)
    assert check(replace(history, accepted=(second,))) == []


def test_what_is_left_of_a_run_that_was_rolled_back_has_no_writes() -> None:
    history = make_history()
    assert check(replace(history, accepted=(), runs=(), received=(), writes=())) == []


def test_a_run_that_nobody_was_told_about_must_end_too() -> None:
    history = make_history()
    forgotten = RunRow("forgotten", "t", "running", 1, None, "sync")
    found = {violation.rule for violation in check(replace(history, runs=(*history.runs, forgotten)))}
    assert "an accepted run reaches a final status" in found


def test_a_history_that_was_put_on_file_is_judged_as_before(tmp_path: Path) -> None:
    history = repeat_report(make_history())
    archive.write(history, tmp_path / "facts.json")
    assert archive.read(tmp_path / "facts.json") == history
    assert check(archive.read(tmp_path / "facts.json")) == check(history) != []


def test_reports_of_a_subgraph_count_once() -> None:
    inner = ("updates|sub:1", {"inner": {"log": ["inner"]}})
    outer = ("updates", {"sub": {"log": ["inner"]}})
    history = History(log=(make_row(1, 1, opening(1), inner, outer),))
    assert list(history.reports(RUN)) == [(1, "inner")]
    assert orjson.loads(history.events_of_run[RUN][0].data)["attempt"] == 1
