"""How long a run stood still is read from the log, and an outage of the database is not held against the processes."""

import pytest

from threadline.tests.faults.facts import Event, History, LogRow
from threadline.tests.faults.recovery import Loss, measure


def make_history(*starts: float) -> History:
    """A run whose attempts began then."""
    events = tuple(
        Event(number, "metadata", f'{{"attempt":{number}}}', start) for number, start in enumerate(starts, 1)
    )
    return History(log=(LogRow("thread", 1, len(events), "run", 1, events),))


def test_a_recovery_is_the_time_from_the_loss_to_the_next_attempt() -> None:
    losses = [Loss(10.0, "kill", {"run": 1}), Loss(30.0, "kill", {"run": 2})]
    (found,) = measure(make_history(1.0, 10.5, 33.0), losses)
    assert found.samples == pytest.approx([0.5, 3.0])
    assert (found.median, found.longest) == pytest.approx((1.75, 3.0))


def test_what_a_run_did_not_need_is_no_sample() -> None:
    assert measure(make_history(1.0), [Loss(10.0, "kill", {"run": 1})]) == []


def test_while_the_database_is_away_nothing_can_start() -> None:
    history = make_history(1.0, 21.0)
    (found,) = measure(history, [Loss(10.0, "kill", {"run": 1})], [(2.0, 4.0), (9.0, 20.5), (30.0, 31.0)])
    assert found.samples == pytest.approx([0.5])
