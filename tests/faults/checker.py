"""Owns the verdict over a sitting: every rule asked of the recorded facts, and what was found."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from threadline.tests.faults import checkpoint_rules, log_rules, work_rules
from threadline.tests.faults.facts import History

Rule = Callable[[History], Iterable[str]]

# Each by the promise that it checks.
RULES: dict[str, Rule] = {
    "an accepted run reaches a final status": log_rules.find_lost_runs,
    "a run ends once, and nothing of it comes behind its end": log_rules.find_wrong_ends,
    "the numbers of a thread have no hole and no double": log_rules.find_wrong_numbers,
    "attempts are numbered one behind the other": log_rules.find_wrong_attempts,
    "a client has the log: nothing lost, doubled or in another order": log_rules.find_wrong_streams,
    "a client that waits is told the state of the thread": log_rules.find_wrong_answers,
    "committed work is reported once": work_rules.find_repeated_reports,
    "what is reported was done, and what a success takes is reported": work_rules.find_missing_work,
    "committed work is not done again": work_rules.find_repeated_work,
    "an attempt is no further ahead of its commits than its durability allows": work_rules.find_runs_ahead,
    "a run that was disturbed ends in the state of a calm one": work_rules.find_other_states,
    "a report lies in the transaction of its write": checkpoint_rules.find_split_reports,
    "checkpoint ids never go back": checkpoint_rules.find_late_checkpoints,
    "a thread's checkpoints are one line": checkpoint_rules.find_branches,
}

# What no history shows, and the sitting finds by itself.
ANSWERS = "a good request is never told that it was wrong"
CLIENTS = "a client comes to its end"
PROCESSES = "a process ends when it is told to or killed, not by itself"


class Violation(NamedTuple):
    """A rule that was broken, and where."""

    rule: str
    what: str


def check(history: History) -> list[Violation]:
    """Return every violation of every rule."""
    return [Violation(rule, what) for rule, find in RULES.items() for what in find(history)]


def count_by_rule(violations: Iterable[Violation]) -> Counter[str]:
    """How often each rule was broken."""
    return Counter(violation.rule for violation in violations)
