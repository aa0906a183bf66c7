"""Owns what clients may send about crons: the bodies of requests. What they mean is decided behind them."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StrictBool

from threadline.api.schemas import Body, Limit, Object, Offset, RunOptions, SortOrder, Text

CronField = Literal[
    "cron_id",
    "assistant_id",
    "thread_id",
    "user_id",
    "on_run_completed",
    "end_time",
    "schedule",
    "timezone",
    "created_at",
    "updated_at",
    "payload",
    "next_run_date",
    "metadata",
    "enabled",
]


def _in_utc(time: datetime) -> datetime:
    """A time without an offset is taken for UTC."""
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


Schedule = Annotated[Text, Field(min_length=1, max_length=256)]
Time = Annotated[datetime, AfterValidator(_in_utc)]


class CronOptions(RunOptions):
    """What a cron's runs are made from, and until when."""

    timezone: Annotated[Text, Field(max_length=64)] | None = None
    end_time: Time | None = None
    on_run_completed: Literal["delete", "keep"] | None = None
    enabled: StrictBool | None = None


class CronCreate(CronOptions):
    """A cron to create; `assistant_id` takes the name of a graph, too."""

    assistant_id: Annotated[str, Field(min_length=1)]
    schedule: Schedule


class CronPatch(CronOptions):
    """What to change of a cron; what is not named stays."""

    schedule: Schedule | None = None


class CronFilter(Body):
    """Which crons; `assistant_id` takes the name of a graph, too."""

    assistant_id: Annotated[str, Field(min_length=1)] | None = None
    thread_id: UUID | None = None
    metadata: Object = Field(default_factory=dict)


class CronSearch(CronFilter):
    """Which crons, in what order, and which of their fields."""

    enabled: StrictBool | None = None
    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal[
        "cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date", "end_time"
    ] = "created_at"
    sort_order: SortOrder = "desc"
    select: list[CronField] | None = None
