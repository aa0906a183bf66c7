"""Owns when each event of a replay is due: as far apart as it was recorded, faster by a factor, gaps capped."""

from math import isfinite

from threadline.runs.errors import Invalid

DEFAULT_MAX_GAP = 5.0  # seconds; nobody learns more from a longer pause


class Pace:
    """The clock of one replay; without a `speed`, everything is due at once. `max_gap` is in seconds of waiting."""

    def __init__(self, speed: float | None, max_gap: float = DEFAULT_MAX_GAP) -> None:
        self.speed = speed
        self._max_gap = max_gap
        self._last: int | None = None
        self._due: float | None = None

    def wait(self, time: int, now: float) -> float:
        """Return how many seconds to wait, at `now`, for the event recorded at `time`, in microseconds.

        Recorded clocks may go back between processes; that is no wait.
        """
        if self.speed is None:
            return 0.0
        gap = 0.0 if self._last is None else max(0.0, (time - self._last) / 1_000_000 / self.speed)
        self._last = time
        self._due = (now if self._due is None else self._due) + min(gap, self._max_gap)
        if self._due < now - self._max_gap:
            self._due = now  # far behind, as behind a pause of the run itself: do not rush to make it good
        return max(0.0, self._due - now)


def read_speed(text: str) -> float | None:
    """Return the factor that `text` names, None for `max`. Raises Invalid."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not isfinite(speed) or not 0.01 <= speed <= 1000:
        raise Invalid(f"speed must be max or a factor between 0.01 and 1000, not {text!r}")
    return speed
