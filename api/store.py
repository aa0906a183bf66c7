"""Owns the routes of the store: items by namespace and key, shared by clients and graphs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from langgraph.store.base import NOT_PROVIDED
from starlette.responses import Response

from threadline.api.dependencies import EngineDep, JsonBody
from threadline.api.errors import BadValue
from threadline.api.responses import JsonResponse
from threadline.api.routing import DirectRoute
from threadline.api.store_schemas import ItemName, ItemPut, ItemSearch, NamespaceSearch
from threadline.api.views import found_view, item_view

router = APIRouter(prefix="/store", tags=["Store"], route_class=DirectRoute)


@router.put("/items", summary="Put an item", status_code=204)
async def put_item(body: Annotated[ItemPut, Depends(JsonBody(ItemPut))], engine: EngineDep) -> Response:
    """Keep an item; one of that namespace and key is replaced."""
    ttl = body.ttl if "ttl" in body.model_fields_set else NOT_PROVIDED
    await engine.items.put(body.namespace, body.key, body.value, body.index, ttl)
    return Response(status_code=204)


@router.get("/items", summary="Get an item")
async def get_item(
    engine: EngineDep,
    namespace: Annotated[str, Query(description="The labels of the namespace, with dots between them.")] = "",
    key: Annotated[str | None, Query(description="The item's key.")] = None,
    refresh_ttl: Annotated[bool | None, Query(description="Whether its time to live begins anew.")] = None,
) -> Response:
    """Answer with the item, null when there is none."""
    if key is None:
        raise BadValue("Key is required")
    item = await engine.items.get(namespace.split("."), key, refresh_ttl=refresh_ttl)
    return JsonResponse(None if item is None else item_view(item))


@router.delete("/items", summary="Delete an item", status_code=204)
async def delete_item(body: Annotated[ItemName, Depends(JsonBody(ItemName))], engine: EngineDep) -> Response:
    """Remove an item, if there is one."""
    await engine.items.delete(body.namespace, body.key)
    return Response(status_code=204)


@router.post("/items/search", summary="Search items")
async def search_items(body: Annotated[ItemSearch, Depends(JsonBody(ItemSearch))], engine: EngineDep) -> Response:
    """Answer with items below a namespace; with `query` those nearest in meaning, if langgraph.json has an index."""
    found = await engine.items.search(
        body.namespace_prefix,
        query=body.query,
        filter=body.filter,
        limit=body.limit,
        offset=body.offset,
        refresh_ttl=body.refresh_ttl,
    )
    return JsonResponse({"items": [found_view(item) for item in found]})


@router.post("/namespaces", summary="List namespaces")
async def list_namespaces(
    body: Annotated[NamespaceSearch, Depends(JsonBody(NamespaceSearch))], engine: EngineDep
) -> Response:
    """Answer with the namespaces in which items are."""
    found = await engine.items.namespaces(
        prefix=body.prefix, suffix=body.suffix, max_depth=body.max_depth, limit=body.limit, offset=body.offset
    )
    return JsonResponse({"namespaces": found})
