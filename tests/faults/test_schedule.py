"""A sitting can be had again: its seed alone decides which fault comes when."""

from itertools import pairwise

from threadline.tests.faults.faults import FAULTS
from threadline.tests.faults.schedule import LEAD, PAIRED, make_schedule


def test_the_same_seed_gives_the_same_schedule_and_another_one_another() -> None:
    first = make_schedule(7, 600, tuple(FAULTS), 6)
    assert make_schedule(7, 600, tuple(FAULTS), 6) == first
    assert make_schedule(8, 600, tuple(FAULTS), 6) != first


def test_faults_come_in_order_within_the_time_and_each_before_any_comes_again() -> None:
    schedule = make_schedule(1, 600, tuple(FAULTS), 6)
    dues = [moment.due for moment in schedule]
    assert dues == sorted(dues)
    assert dues[0] == LEAD
    assert dues[-1] < 601
    assert {moment.fault for moment in schedule[: len(FAULTS)]} == set(FAULTS)


def test_some_faults_come_on_the_heels_of_another() -> None:
    schedule = make_schedule(1, 6000, tuple(FAULTS), 6)
    close = sum(after.due - before.due < 0.5 for before, after in pairwise(schedule))
    assert PAIRED / 2 < close / len(schedule) < PAIRED
