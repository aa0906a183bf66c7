"""Owns the store of items as clients use it: what they may do, where, and in which words they are told.

Keeping the items is `item_store`'s; the graphs use that directly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langgraph.store.base import NOT_PROVIDED, Item, NotProvided, SearchItem

from threadline.runs.callers import permit
from threadline.runs.errors import Invalid, InvalidItem
from threadline.runs.item_store import ItemStore
from threadline.runs.metadata import refuse_unstorable
from threadline.runs.model import JsonObject

# Bytes of a namespace and a key together: they are the key of an index, which holds 2,700.
LONGEST_NAME = 2000
OWN_LABEL = "langgraph"

Namespace = Sequence[str]


@dataclass(frozen=True, slots=True)
class Items:
    """The items of one database, on behalf of whoever sends the request."""

    store: ItemStore

    async def put(
        self,
        namespace: Namespace,
        key: str,
        value: JsonObject,
        index: Literal[False] | list[str] | None = None,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        """Keep an item; one of that name is replaced. `ttl` in minutes, None for ever, not provided for the default.

        Raises InvalidItem, Invalid for what cannot be stored, and EmbeddingFailed.
        """
        asked: JsonObject = {"namespace": tuple(namespace), "key": key, "value": value, "index": index}
        await permit("store", "put", asked)
        place, key, value = _check_place(asked["namespace"], asked["key"]), asked["key"], asked["value"]
        if not place:
            raise InvalidItem("Namespace cannot be empty.")
        if place[0] == OWN_LABEL:
            raise InvalidItem(f'Root label for namespace cannot be "{OWN_LABEL}". Got: {place}')
        refuse_unstorable(value, "value")
        await self.store.aput(place, key, value, asked["index"], ttl=ttl)

    async def get(self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None) -> Item | None:
        """Return the item, None without one; `refresh_ttl` says whether its time begins anew. Raises Invalid."""
        asked: JsonObject = {"namespace": tuple(namespace), "key": key}
        await permit("store", "get", asked)
        place = _check_place(asked["namespace"], asked["key"])
        return await self.store.aget(place, asked["key"], refresh_ttl=refresh_ttl)

    async def delete(self, namespace: Namespace, key: str) -> None:
        """Remove the item, if there is one. Raises Invalid."""
        asked: JsonObject = {"namespace": tuple(namespace), "key": key}
        await permit("store", "delete", asked)
        await self.store.adelete(_check_place(asked["namespace"], asked["key"]), asked["key"])

    async def search(
        self,
        prefix: Namespace,
        *,
        query: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """Return items below the namespace `prefix`: nearest in meaning to `query` first, else newest first.

        `filter` compares fields: a value, or an object of $eq, $ne, $gt, $gte, $lt, $lte. Raises InvalidItem, Invalid
        and EmbeddingFailed.
        """
        asked: JsonObject = {
            "namespace": tuple(prefix),
            "filter": dict(filter or {}),
            "limit": limit,
            "offset": offset,
            "query": query,
        }
        await permit("store", "search", asked)
        place = _check_place(asked["namespace"])
        refuse_unstorable(asked["query"], "query")
        refuse_unstorable(asked["filter"], "filter")
        try:
            return await self.store.asearch(
                place,
                query=asked["query"],
                filter=asked["filter"] or None,
                limit=asked["limit"],
                offset=asked["offset"],
                refresh_ttl=refresh_ttl,
            )
        except ValueError as error:  # an operator that the store does not have
            raise InvalidItem(str(error)) from error

    async def namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        """Return the namespaces in which items are, cut at `max_depth` labels; `*` stands for any label.

        Raises Invalid.
        """
        asked: JsonObject = {
            "namespace": tuple(prefix or ()),
            "suffix": tuple(suffix or ()),
            "max_depth": max_depth,
            "limit": limit,
            "offset": offset,
        }
        await permit("store", "list_namespaces", asked)
        return await self.store.alist_namespaces(
            prefix=_check_place(asked["namespace"]) or None,
            suffix=_check_place(asked["suffix"]) or None,
            max_depth=asked["max_depth"],
            limit=asked["limit"],
            offset=asked["offset"],
        )


def _check_place(namespace: Namespace, key: str = "") -> tuple[str, ...]:
    """Return the namespace as the store takes it. Raises Invalid for labels that are none, and for a long name."""
    refuse_unstorable(list(namespace), "namespace")
    refuse_unstorable(key, "key")
    for label in namespace:
        if not label or "." in label:
            raise Invalid(f"Namespace label '{label[:100]}' must be a non-empty string without periods")
    length = len(".".join(namespace).encode()) + len(key.encode())
    if length > LONGEST_NAME:
        raise Invalid(f"namespace and key together have {length} bytes; at most {LONGEST_NAME} are possible")
    return tuple(namespace)
