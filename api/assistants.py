"""Owns the routes of assistants; every graph has one that the system makes."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from threadline.api.dependencies import AssistantId, EngineDep, JsonBody
from threadline.api.responses import JsonResponse, page
from threadline.api.routing import DirectRoute
from threadline.api.schemas import AssistantSearch
from threadline.api.views import assistant_view, select

router = APIRouter(prefix="/assistants", tags=["Assistants"], route_class=DirectRoute)


@router.post("/search", summary="Search assistants")
async def search_assistants(
    body: Annotated[AssistantSearch, Depends(JsonBody(AssistantSearch))], engine: EngineDep
) -> Response:
    """Answer with a page of the assistants that match, newest first unless told otherwise."""
    found = await engine.assistants.search(
        metadata=body.metadata,
        graph_id=body.graph_id,
        name=body.name,
        limit=body.limit + 1,
        offset=body.offset,
        sort_by=body.sort_by,
        sort_order=body.sort_order,
    )
    views = [select(assistant_view(assistant), body.select) for assistant in found]
    return page(views, limit=body.limit, offset=body.offset)


@router.get("/{assistant_id}", summary="Get an assistant")
async def get_assistant(assistant_id: AssistantId, engine: EngineDep) -> Response:
    """Answer with the assistant of this id, or with the system's assistant of a graph of this name."""
    return JsonResponse(assistant_view(await engine.assistants.get(assistant_id)))
