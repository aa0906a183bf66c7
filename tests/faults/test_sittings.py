"""Runs survive what the laboratory does to them, and nobody is told what is not so."""

from itertools import chain

import pytest

from threadline.tests.faults.faults import MIXED
from threadline.tests.faults.orders import LONG
from threadline.tests.faults.report import describe
from threadline.tests.faults.sitting import SMALL, Plan, Sitting, sit
from threadline.tests.faults.test_missing_guards import CASES

pytestmark = pytest.mark.slow  # a PostgreSQL and several processes, and half a minute of faults

LONGEST = 10.0  # seconds: far above what is promised, because the machine may be busy


def assert_nothing_is_violated(sitting: Sitting) -> None:
    assert not sitting.violations, describe(sitting)
    assert sitting.notes.accepted


async def test_nothing_is_lost_doubled_or_reordered_under_faults_of_all_kinds() -> None:
    sitting = await sit(Plan(20, 60, clients=6, pace=2.0))
    assert_nothing_is_violated(sitting)
    assert set(sitting.times) | set(sitting.left_out) <= set(MIXED)


async def test_with_all_guards_on_nothing_is_violated_where_a_missing_one_is_found() -> None:
    faults = sorted(chain.from_iterable(plan.moments for _, plan in CASES.values()))
    assert_nothing_is_violated(await sit(Plan(1, 18, moments=faults, crowds=0.3, clients=8, pause=0.1, roles=SMALL)))


async def test_runs_of_a_killed_process_are_taken_up_by_others_in_seconds() -> None:
    sitting = await sit(Plan(1, 0, faults=("kill -9 of a worker",), rounds=3, kinds=LONG, roles=SMALL))
    assert_nothing_is_violated(sitting)
    assert sum(len(recovery.samples) for recovery in sitting.recoveries) > 0
    assert all(recovery.longest < LONGEST for recovery in sitting.recoveries)
