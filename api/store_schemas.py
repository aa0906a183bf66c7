"""Owns what clients may send about items of the store; what it means is decided behind it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from threadline.api.schemas import Body, Limit, Offset, expects
from threadline.runs.model import JsonObject

MOST_LABELS = 100
MOST_FIELDS = 100
DEEPEST = 100
HUNDRED_YEARS = 100 * 366 * 24 * 60  # minutes


def _none_as_list(value: Any) -> Any:
    return [] if value is None else value


Namespace = Annotated[list[StrictStr], Field(max_length=MOST_LABELS)]
Minutes = Annotated[float, Field(gt=0, le=HUNDRED_YEARS, strict=True, allow_inf_nan=False)]


class ItemPut(Body):
    """An item to keep; `ttl` in minutes. Without it the default holds, and null is for ever."""

    namespace: Namespace
    key: StrictStr
    value: JsonObject
    index: Annotated[
        Literal[False] | Annotated[list[str], Field(max_length=MOST_FIELDS)] | None,
        expects("false, a list of field paths, or null"),
    ] = None
    ttl: Minutes | None = None


class ItemName(Body):
    """An item to remove."""

    namespace: Annotated[Namespace, BeforeValidator(_none_as_list)] = Field(default_factory=list)
    key: StrictStr


class ItemSearch(Body):
    """Which items: below a namespace, with these fields, near in meaning to a text."""

    namespace_prefix: Annotated[Namespace, BeforeValidator(_none_as_list)] = Field(default_factory=list)
    filter: JsonObject | None = None
    limit: Limit = 10
    offset: Offset = 0
    query: StrictStr | None = None
    refresh_ttl: StrictBool | None = None


class NamespaceSearch(Body):
    """Which namespaces: those that begin and end with these labels, `*` being any."""

    prefix: Namespace | None = None
    suffix: Namespace | None = None
    max_depth: Annotated[StrictInt, Field(ge=1, le=DEEPEST)] | None = None
    limit: Limit = 100
    offset: Offset = 0
