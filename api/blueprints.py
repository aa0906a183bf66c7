"""Owns the routes that show an assistant's graph without running it: drawing, schemas, subgraphs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from threadline.api.dependencies import AssistantId, EngineDep
from threadline.api.errors import InvalidRequest
from threadline.api.responses import JsonResponse
from threadline.api.routing import DirectRoute

router = APIRouter(prefix="/assistants/{assistant_id}", tags=["Assistants"], route_class=DirectRoute)

DEEPEST = 1000

Recurse = Annotated[bool, Query(description="With the subgraphs of subgraphs.")]


@router.get("/graph", summary="Draw an assistant's graph")
async def draw_graph(
    assistant_id: AssistantId,
    engine: EngineDep,
    xray: Annotated[str, Query(description="`true`, or how many levels of subgraphs to draw into it.")] = "false",
) -> Response:
    """Answer with nodes and edges."""
    assistant = await engine.assistants.get(assistant_id)
    return JsonResponse(await engine.blueprints.draw(assistant, _read_xray(xray)))


@router.get("/schemas", summary="Get the schemas of an assistant's graph")
async def get_schemas(assistant_id: AssistantId, engine: EngineDep) -> Response:
    """Answer with JSON schemas of input, output, state and context; null for one that cannot be told."""
    return JsonResponse(await engine.blueprints.schemas(await engine.assistants.get(assistant_id)))


@router.get("/subgraphs", summary="Get the subgraphs of an assistant's graph")
async def list_subgraphs(assistant_id: AssistantId, engine: EngineDep, recurse: Recurse = False) -> Response:
    """Answer with the schemas of each subgraph, by its name; `a|b` is subgraph b of subgraph a."""
    assistant = await engine.assistants.get(assistant_id)
    return JsonResponse(await engine.blueprints.subgraphs(assistant, recurse=recurse))


@router.get("/subgraphs/{namespace}", summary="Get one subgraph of an assistant's graph")
async def get_subgraph(
    assistant_id: AssistantId,
    namespace: Annotated[str, Path(description="The subgraph's name; `a|b` needs recurse.")],
    engine: EngineDep,
    recurse: Recurse = False,
) -> Response:
    """Answer with the schemas of that subgraph, nothing when there is none of that name."""
    assistant = await engine.assistants.get(assistant_id)
    return JsonResponse(await engine.blueprints.subgraphs(assistant, namespace, recurse=recurse))


def _read_xray(text: str) -> bool | int:
    """Return a depth, or whether to draw subgraphs at all. Raises InvalidRequest."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= DEEPEST and len(text) < 9:
        return int(text)
    raise InvalidRequest("Invalid xray value")
