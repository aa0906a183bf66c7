"""Owns how a difference is recognised as one that is known: by where it is, and what both sides say."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from threadline.tests.contract.comparing import Difference


@dataclass(frozen=True)
class Rule:
    """Differences that the entry of that name explains; `*` stands for anything, also in the values."""

    entry: str
    where: str
    call: str = "*"
    scenario: str = "*"
    theirs: str = "*"
    ours: str = "*"

    def explains(self, difference: Difference) -> bool:
        """Whether `difference` is one of these."""
        where = re.sub(r"\[\d+\]", "[]", difference.where)
        return (
            _matches(self.where, where)
            and _matches(
                self.call, difference.call.split(" ", 1)[-1] if difference.call.startswith("#") else difference.call
            )
            and _matches(self.scenario, difference.scenario)
            and _matches(self.theirs, str(difference.theirs))
            and _matches(self.ours, str(difference.ours))
        )


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(re.escape(glob).replace(r"\*", ".*").replace(r"\|", "|"), re.DOTALL)


def _matches(glob: str, text: str) -> bool:
    return glob == "*" or _pattern(glob).fullmatch(text) is not None


def sort_out(differences: Iterable[Difference], rules: Iterable[Rule]) -> tuple[list[Difference], list[Rule]]:
    """Return the differences that no rule explains, and the rules that explain none."""
    unexplained: list[Difference] = []
    unused = dict.fromkeys(rules)
    everything = tuple(unused)
    for difference in differences:
        explaining = [rule for rule in everything if rule.explains(difference)]
        if not explaining:
            unexplained.append(difference)
        for rule in explaining:
            unused.pop(rule, None)
    return unexplained, list(unused)
