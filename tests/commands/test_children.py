"""Which ends of a child let `serve` give up."""

from threadline.commands.children import START_ATTEMPTS, count_failure
from threadline.commands.link import Report, encode_line, read_report


def count_failures(*reports: Report | None) -> int:
    failed = 0
    for report in reports:
        failed = count_failure(failed, report)
    return failed


BROKEN = Report(failure="no such graph")
WITHOUT_DATABASE = Report(failure="connection refused", is_lasting=False)


def test_a_child_that_cannot_start_is_tried_only_so_often() -> None:
    assert count_failures(BROKEN, None, BROKEN) == START_ATTEMPTS


def test_a_child_that_found_no_database_may_be_tried_for_ever() -> None:
    assert count_failures(*[WITHOUT_DATABASE] * 10) == 0
    assert count_failures(BROKEN, WITHOUT_DATABASE, BROKEN) == 2


def test_a_child_that_served_makes_good_for_those_before_it() -> None:
    assert count_failures(BROKEN, BROKEN, Report(), BROKEN) == 1


def test_a_report_reads_as_it_was_written() -> None:
    for report in (BROKEN, WITHOUT_DATABASE, Report(graphs={"a": None}, example={"n": 1})):
        assert read_report(encode_line(report)) == report
