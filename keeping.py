"""Owns for how long what finished runs leave behind is kept; `settings` reads it, and `runs` clears away the rest."""

from datetime import timedelta
from typing import Annotated

from pydantic import model_validator

from threadline.environment import Count, Delay, Expects, Flag, Interval, Section, variables

_ABOVE_ZERO = Expects("a number of seconds above 0")
_FROM_ZERO = Expects("a number of seconds, 0 or more")


class KeepSettings(Section):
    """How long what finished runs leave behind is kept; what is unset is kept for ever."""

    # Whoever waits for a run comes back within minutes, if at all.
    stateless: Annotated[Interval, variables("THREADLINE_KEEP_STATELESS_SECONDS")] = timedelta(minutes=5)
    # For ever: nobody should lose a past that they did not know they had to ask for.
    events: Annotated[Interval | None, _ABOVE_ZERO, variables("THREADLINE_KEEP_EVENTS_SECONDS")] = None
    # For ever, like the events; the newest are kept in any case.
    checkpoints: Annotated[Delay | None, _FROM_ZERO, variables("THREADLINE_KEEP_CHECKPOINTS_SECONDS")] = None
    # The newest is the state; each one more is a step back that can be taken.
    latest_checkpoints: Annotated[Count, variables("THREADLINE_KEEP_LATEST_CHECKPOINTS")] = 1
    # Off; in a conversation, these are where a question can be asked anew.
    last_checkpoints: Annotated[Flag, variables("THREADLINE_KEEP_LAST_CHECKPOINTS")] = False
    # For ever, like the events; a row cannot go before them.
    runs: Annotated[Interval | None, _ABOVE_ZERO, variables("THREADLINE_KEEP_RUNS_SECONDS")] = None

    @model_validator(mode="after")
    def _rows_outlive_events(self) -> "KeepSettings":
        if self.runs is not None and (self.events is None or self.events > self.runs):
            raise ValueError(
                f"THREADLINE_KEEP_RUNS_SECONDS='{self.runs.total_seconds():g}' is refused: it must have a "
                "THREADLINE_KEEP_EVENTS_SECONDS beside it that is not longer"
            )
        return self
