"""The laboratory can find what it looks for: with a guard switched off in its workers, it reports that violation."""

import shutil
from collections.abc import Sequence

import pytest

from threadline.tests.faults.archive import read
from threadline.tests.faults.checker import check, count_by_rule
from threadline.tests.faults.launcher import GUARDS
from threadline.tests.faults.orders import LONG
from threadline.tests.faults.schedule import Moment
from threadline.tests.faults.sitting import SMALL, Plan, sit

pytestmark = pytest.mark.slow  # a laboratory of its own for each guard: half a minute

TWICE = "committed work is reported once"
NUMBERS = "the numbers of a thread have no hole and no double"
SPLIT = "a report lies in the transaction of its write"
STATES = "a run that was disturbed ends in the state of a calm one"


def moments(fault: str, *dues: float) -> Sequence[Moment]:
    return [Moment(due, fault, number) for number, due in enumerate(dues)]


CUT_OFF = moments("a worker cut off beyond its lease", 3, 12)
LOST = moments("answers of PostgreSQL lost", 2, 3, 4, 5, 6, 7)
CASES = {
    "fence": ({TWICE}, Plan(1, 18, moments=CUT_OFF, clients=8, pause=0.1)),
    "numbering": ({NUMBERS}, Plan(1, 8, moments=moments("clients slow", 7), crowds=1.0, clients=6, pause=0.1)),
    "writer row": ({TWICE}, Plan(1, 9, moments=LOST, clients=8, pause=0.1)),
    "event with write": ({SPLIT}, Plan(1, 4, moments=moments("kill -9 of a worker", 2), clients=4)),
    "floor": ({STATES}, Plan(1, 5, moments=moments("taken over by late clocks", 2), kinds=LONG, crowds=0.0)),
}


@pytest.mark.parametrize("guard", CASES)
async def test_without_a_guard_the_laboratory_reports_what_it_guards_against(guard: str) -> None:
    expected, plan = CASES[guard]
    broken = Plan(**{**vars(plan), "roles": SMALL, "guard": guard, "patience": 20.0})
    sitting = await sit(broken)
    kept = {file.name for file in sitting.folder.iterdir()}
    again = check(read(sitting.folder / "facts.json"))
    shutil.rmtree(sitting.folder)
    assert {"plan", "journal", "violations", "effects", "api-1-1.log", "worker-2-1.log"} <= kept
    assert set(again) <= set(sitting.violations)
    found = count_by_rule(sitting.violations)
    assert expected <= set(found), found


def test_every_guard_that_can_be_switched_off_is_switched_off_once() -> None:
    assert set(CASES) == set(GUARDS)
