"""Owns what clients may send about threads and their states; what it means is decided behind it."""

import re
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool
from pydantic_core import PydanticCustomError

from threadline.api.schemas import (
    Body,
    CheckpointReference,
    Command,
    Limit,
    Metadata,
    Object,
    Offset,
    SortOrder,
    expects,
)
from threadline.runs.model import JsonObject, ThreadStatus, Ttl, TtlStrategy

MAX_IDS = 1000
MAX_SELECTED = 50
MAX_SUPERSTEPS = 1000
MAX_EXTRACTED = 10
LONGEST_PATH = 500
HUNDRED_YEARS = 100 * 366 * 24 * 60  # minutes
EXTRACT_ROOTS = ("config", "interrupts", "metadata", "values")

ThreadField = Literal[
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "config",
    "status",
    "values",
    "interrupts",
    "error",
]
STATE_FIELDS = (
    "values",
    "next",
    "tasks",
    "checkpoint",
    "metadata",
    "created_at",
    "parent_checkpoint",
    "interrupts",
    "checkpoint_id",
    "parent_checkpoint_id",
)


def _check_extract(paths: dict[str, str]) -> dict[str, str]:
    for alias, path in paths.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", alias):
            text = "Extract key '{alias}' must be a valid identifier (letters, digits, underscores)"
            raise PydanticCustomError("extract", text, {"alias": alias[:100]})
        if not re.match(rf"({'|'.join(EXTRACT_ROOTS)})($|[.\[])", path):
            text = "Extract path '{path}' must start with one of: " + ", ".join(EXTRACT_ROOTS)
            raise PydanticCustomError("extract", text, {"path": path[:100]})
    return paths


def check_state_field(name: str) -> str:
    """Return the name of a state's field, or `values.<key>`. Raises PydanticCustomError for anything else."""
    if name not in STATE_FIELDS and not name.startswith("values."):
        expected = ", ".join(STATE_FIELDS)
        raise PydanticCustomError("select", "must be one of {expected}, or values.<key>", {"expected": expected})
    return name


def _none_as_list(value: object) -> object:
    return [] if value is None else value


StateFields = Annotated[
    list[Annotated[str, AfterValidator(check_state_field)]],
    BeforeValidator(_none_as_list),
    Field(max_length=MAX_SELECTED),
]
Paths = Annotated[
    dict[str, Annotated[str, Field(max_length=LONGEST_PATH)]],
    BeforeValidator(lambda value: {} if value is None else value),
    Field(max_length=MAX_EXTRACTED),
    AfterValidator(_check_extract),
]


class ThreadTtl(Body):
    """A time to live in minutes from the last activity; negative is for ever, and what is left out stays."""

    ttl: Annotated[float, Field(le=HUNDRED_YEARS, strict=True, allow_inf_nan=False)] | None = None
    strategy: TtlStrategy | None = None

    def read(self) -> Ttl:
        """Return it as threads take it."""
        return Ttl(self.ttl, self.strategy)


class SuperstepUpdate(Body):
    """What one node would have returned."""

    values: Annotated[
        JsonObject | list[JsonObject] | None, expects("an object of values, or a list of such objects")
    ] = None
    command: Command | None = None
    as_node: str | None = None


class Superstep(Body):
    """Updates that happen at once."""

    updates: Annotated[list[SuperstepUpdate], Field(max_length=MAX_SUPERSTEPS)]


class ThreadCreate(Body):
    """A thread to create; with supersteps it begins with a past."""

    thread_id: UUID | None = None
    metadata: Metadata = Field(default_factory=dict)
    if_exists: Literal["raise", "do_nothing"] = "raise"
    ttl: ThreadTtl | None = None
    supersteps: Annotated[list[Superstep], Field(max_length=MAX_SUPERSTEPS)] | None = None


class ThreadPatch(Body):
    """Metadata to merge into a thread's, and a time to live to begin anew."""

    metadata: Metadata = Field(default_factory=dict)
    ttl: ThreadTtl | None = None


class ThreadPrune(Body):
    """Threads to delete, or to leave nothing of but their latest state."""

    thread_ids: Annotated[list[UUID], Field(max_length=MAX_IDS)]
    strategy: TtlStrategy = TtlStrategy.DELETE


class ThreadFilter(Body):
    """Which threads: those whose metadata and values contain these."""

    metadata: Object = Field(default_factory=dict)
    values: Object = Field(default_factory=dict)
    status: ThreadStatus | None = None


class ThreadSearch(ThreadFilter):
    """Which threads, in what order, and which of their fields; `extract` names places within these."""

    ids: Annotated[list[str], Field(max_length=MAX_IDS)] | None = None
    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] = "created_at"
    sort_order: SortOrder = "desc"
    select: Annotated[list[ThreadField], Field(max_length=MAX_SELECTED)] | None = None
    extract: Paths = Field(default_factory=dict)


class StateUpdate(Body):
    """Values to write into a thread's state as if the node `as_node` had returned them."""

    values: Annotated[
        JsonObject | list[JsonObject] | None, expects("an object of values, or a list of such objects")
    ] = None
    as_node: str | None = None
    checkpoint: CheckpointReference | None = None
    checkpoint_id: str | None = None


class StateAt(Body):
    """A checkpoint whose state is wanted, and which fields of it."""

    checkpoint: CheckpointReference
    subgraphs: StrictBool = False
    select: StateFields = Field(default_factory=list)


class HistorySearch(Body):
    """Which states of a thread: those before a checkpoint, those whose metadata contains this."""

    limit: Limit = 1
    before: CheckpointReference | None = None
    metadata: Object = Field(default_factory=dict)
    checkpoint: CheckpointReference | None = None
    select: StateFields = Field(default_factory=list)


def superstep_updates(supersteps: list[Superstep]) -> list[dict[str, Any]]:
    """Return supersteps as `runs.states` takes them."""
    return [superstep.model_dump(exclude_unset=True) for superstep in supersteps]
