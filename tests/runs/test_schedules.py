"""What a schedule means, the days included on which clocks are turned."""

from datetime import UTC, datetime

import pytest

from threadline.runs.errors import Invalid
from threadline.runs.schedules import next_moment


def moments(schedule: str, timezone: str | None, after: str, count: int = 3) -> list[str]:
    moment = datetime.fromisoformat(after)
    found = []
    for _ in range(count):
        following = next_moment(schedule, timezone, moment)
        assert following is not None
        assert following.tzinfo is UTC
        moment = following
        found.append(f"{moment:%m-%d %H:%M:%S}")
    return found


def test_five_fields_are_minutes_and_up() -> None:
    assert moments("*/20 * * * *", None, "2026-01-01T23:15:30+00:00") == [
        "01-01 23:20:00",
        "01-01 23:40:00",
        "01-02 00:00:00",
    ]


def test_a_sixth_field_behind_them_is_seconds() -> None:
    assert moments("* * * * * */25", None, "2026-01-01T12:00:10.5+00:00") == [
        "01-01 12:00:25",
        "01-01 12:00:50",
        "01-01 12:01:00",
    ]


def test_a_moment_is_behind_the_one_it_is_asked_from() -> None:
    assert moments("0 12 * * *", None, "2026-01-01T12:00:00+00:00", 1) == ["01-02 12:00:00"]


def test_a_name_stands_for_its_expression() -> None:
    assert moments("@Daily", "Asia/Tokyo", "2026-01-01T00:00:00+00:00", 1) == ["01-01 15:00:00"]


def test_a_time_of_day_follows_its_zone_through_the_year() -> None:
    assert moments("0 12 * * *", "America/New_York", "2026-03-06T18:00:00+00:00") == [
        "03-07 17:00:00",
        "03-08 16:00:00",
        "03-09 16:00:00",
    ]


def test_a_time_that_is_left_out_in_spring_comes_as_soon_as_it_can() -> None:
    assert moments("30 2 * * *", "America/New_York", "2026-03-07T12:00:00+00:00", 2) == [
        "03-08 07:00:00",
        "03-09 06:30:00",
    ]


def test_a_time_that_comes_twice_in_autumn_counts_once() -> None:
    assert moments("30 1 * * *", "America/New_York", "2026-10-31T12:00:00+00:00", 2) == [
        "11-01 05:30:00",
        "11-02 06:30:00",
    ]


def test_every_hour_stays_every_hour_in_autumn() -> None:
    assert moments("0 * * * *", "America/New_York", "2026-11-01T04:30:00+00:00") == [
        "11-01 05:00:00",
        "11-01 06:00:00",
        "11-01 07:00:00",
    ]


@pytest.mark.parametrize(
    "schedule", ["", "x", "60 * * * *", "* * * *", "0 0 31 2 *", "* * * * * * *", "@never", "a" * 300]
)
def test_what_names_no_moment_is_refused(schedule: str) -> None:
    with pytest.raises(Invalid, match="Invalid cron schedule"):
        next_moment(schedule, None, datetime.now(UTC))


@pytest.mark.parametrize("timezone", ["Mars/X", "../etc/passwd", "/etc/localtime", "a\0b", "America"])
def test_what_is_no_time_zone_is_refused(timezone: str) -> None:
    with pytest.raises(Invalid, match="Invalid timezone"):
        next_moment("0 0 * * *", timezone, datetime.now(UTC))
