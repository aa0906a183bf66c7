"""The differential test: one catalogue of calls, and two servers that answer alike, but for what is listed."""

import re
from collections.abc import Callable, Iterable

from threadline.tests.contract.catalogue import Played, load_catalogue
from threadline.tests.contract.comparing import Difference, compare
from threadline.tests.contract.differences import INTENDED
from threadline.tests.contract.recording import read_recording
from threadline.tests.contract.rules import sort_out
from threadline.tests.source import ROOT

SHOWN = 40


def differences(theirs: Played, ours: Played) -> Iterable[Difference]:
    for name, calls in ours.items():
        yield from compare(name, theirs.get(name, []), calls)


def test_the_recording_is_of_this_catalogue() -> None:
    assert set(read_recording()) == {each.name for each in load_catalogue()}, "make contract-record"


def test_both_servers_answer_alike_but_for_what_is_listed(
    ours: Played, record_property: Callable[[str, object], None]
) -> None:
    unexplained, unused = sort_out(differences(read_recording(), ours), INTENDED)
    calls = sum(map(len, ours.values()))
    record_property("summary", f"contract: {calls} calls in {len(ours)} scenarios, compared with the reference")
    told = "\n".join(map(str, unexplained[:SHOWN]))
    assert not unexplained, f"{len(unexplained)} differences in {calls} calls are not listed:\n{told}"
    assert not unused, "these differences are gone: take them from the list, and from docs/compatibility.md"


def test_every_difference_that_stays_has_its_reason_on_file() -> None:
    page = (ROOT / "docs/compatibility.md").read_text("utf-8")
    explained = re.findall(r"^\| `([a-z0-9-]+)` \|", page, flags=re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert set(explained) == {rule.entry for rule in INTENDED}
