"""Owns what a schedule means: which moments an expression names in a time zone. Acting on them is `scheduler`'s."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from threadline.runs.errors import Invalid

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_SECONDS_TOO = 6


def next_moment(schedule: str, timezone: str | None, after: datetime) -> datetime | None:
    """Return the first moment behind `after`, in UTC, or None when none will come.

    `schedule` has five fields, or six with the seconds behind them, or is an alias as `@daily`. Where clocks are
    turned, a fixed time of day comes once a day, as in Debian's cron. Raises Invalid.
    """
    try:
        zone = ZoneInfo(timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(f"Invalid timezone: {timezone!r}. Use IANA timezone format (e.g. 'America/New_York').") from None
    fields = _ALIASES.get(schedule.strip().lower(), schedule).split()
    if len(fields) == _SECONDS_TOO:
        fields = [fields[-1], *fields[:-1]]  # the library expects them in front
    try:
        moment = next(CronSim(" ".join(fields), after.astimezone(zone)), None)
    except (CronSimError, ValueError, OverflowError) as problem:
        raise Invalid(
            f"Invalid cron schedule: {schedule!r}. Reason: {problem}. Give minute, hour, day of month, month and day "
            "of week, and seconds behind them if you like, e.g. '*/5 * * * *' for every 5 minutes."
        ) from None
    return moment.astimezone(UTC) if moment is not None else None
