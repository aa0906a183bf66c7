"""Owns what clients may send about assistants; what it means is decided behind it."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StrictInt

from threadline.api.schemas import Body, Limit, Metadata, Object, Offset, RunConfig, SortOrder, Text

MAX_SELECTED = 50

AssistantField = Literal[
    "assistant_id",
    "graph_id",
    "name",
    "description",
    "config",
    "context",
    "created_at",
    "updated_at",
    "metadata",
    "version",
]


class AssistantCreate(Body):
    """An assistant to make of a graph."""

    graph_id: Annotated[Text, Field(min_length=1)]
    assistant_id: UUID | None = None
    config: RunConfig | None = None
    context: Object | None = None
    metadata: Metadata = Field(default_factory=dict)
    if_exists: Literal["raise", "do_nothing"] = "raise"
    name: Text | None = None
    description: Text | None = None


class AssistantPatch(Body):
    """What changes about an assistant; what is left out, or null, stays."""

    graph_id: Annotated[Text, Field(min_length=1)] | None = None
    config: RunConfig | None = None
    context: Object | None = None
    metadata: Metadata = Field(default_factory=dict)
    name: Text | None = None
    description: Text | None = None


class AssistantFilter(Body):
    """Which assistants."""

    metadata: Metadata = Field(default_factory=dict)
    graph_id: Text | None = None
    name: Text | None = None


class AssistantSearch(AssistantFilter):
    """Which assistants, in what order, and which of their fields."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal["assistant_id", "created_at", "updated_at", "name", "graph_id"] = "created_at"
    sort_order: SortOrder = "desc"
    select: Annotated[list[AssistantField], Field(max_length=MAX_SELECTED)] | None = None


class VersionSearch(Body):
    """Which versions of an assistant."""

    metadata: Metadata = Field(default_factory=dict)
    limit: Limit = 10
    offset: Offset = 0


class VersionChoice(Body):
    """The version that an assistant is to be again."""

    version: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
