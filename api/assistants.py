"""Owns the routes of assistants and of their versions. Wherever an id is taken, the name of a graph is, too."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from threadline.api.assistant_schemas import (
    AssistantCreate,
    AssistantFilter,
    AssistantPatch,
    AssistantSearch,
    VersionChoice,
    VersionSearch,
)
from threadline.api.dependencies import AssistantId, EngineDep, JsonBody
from threadline.api.errors import ContradictoryRequest
from threadline.api.idempotency import AGAIN, FIRST, KeyDep
from threadline.api.responses import JsonResponse, page
from threadline.api.routing import DirectRoute
from threadline.api.schemas import RunConfig
from threadline.api.views import assistant_view, select, version_view
from threadline.runs.engine import Engine
from threadline.runs.errors import AssistantExists, AssistantNotFound
from threadline.runs.idempotency import Ids, Keyed, MadeAndGone, ids_of
from threadline.runs.model import Assistant, JsonObject
from threadline.runs.threads import IfExists

router = APIRouter(prefix="/assistants", tags=["Assistants"], route_class=DirectRoute)


@router.post("", summary="Create an assistant")
async def create_assistant(
    body: Annotated[AssistantCreate, Depends(JsonBody(AssistantCreate))], engine: EngineDep, key: KeyDep
) -> Response:
    """Make an assistant of a graph; what is given as `config.configurable` or as `context` becomes both."""
    if key is None:
        return JsonResponse(assistant_view(await _create(body, engine, body.if_exists)))

    async def find(made: Sequence[Ids]) -> Assistant:
        try:
            return await engine.assistants.get(UUID(made[0]["assistant_id"]))
        except AssistantNotFound:
            raise MadeAndGone("Assistant", made[0]["assistant_id"]) from None

    try:
        assistant, replayed = await engine.keys.once(
            key,
            lambda transaction: _create(body, engine, "raise", transaction),
            lambda made: [ids_of(assistant_id=made.assistant_id)],
            find,
        )
    except AssistantExists:
        # Nothing is made, so there is nothing to keep a key for.
        if body.if_exists == "raise" or body.assistant_id is None:
            raise
        return JsonResponse(assistant_view(await engine.assistants.get(body.assistant_id)))
    return JsonResponse(assistant_view(assistant), headers=AGAIN if replayed else FIRST)


async def _create(
    body: AssistantCreate, engine: Engine, if_exists: IfExists, transaction: Keyed | None = None
) -> Assistant:
    return await engine.assistants.create(
        body.graph_id,
        assistant_id=body.assistant_id,
        name="Untitled" if body.name is None else body.name,
        description=body.description,
        config=_config(body.config, body.context),
        context=body.context,
        metadata=body.metadata,
        if_exists=if_exists,
        transaction=transaction,
    )


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


@router.post("/count", summary="Count assistants")
async def count_assistants(
    body: Annotated[AssistantFilter, Depends(JsonBody(AssistantFilter))], engine: EngineDep
) -> Response:
    count = await engine.assistants.count(metadata=body.metadata, graph_id=body.graph_id, name=body.name)
    return JsonResponse(count)


@router.get("/{assistant_id}", summary="Get an assistant")
async def get_assistant(assistant_id: AssistantId, engine: EngineDep) -> Response:
    """Answer with the assistant of this id, or with the system's assistant of a graph of this name."""
    return JsonResponse(assistant_view(await engine.assistants.get(assistant_id)))


@router.patch("/{assistant_id}", summary="Change an assistant")
async def patch_assistant(
    assistant_id: AssistantId, body: Annotated[AssistantPatch, Depends(JsonBody(AssistantPatch))], engine: EngineDep
) -> Response:
    """Make a new version: metadata is merged, other fields are replaced. A context keeps the rest of the config."""
    named = {name: getattr(body, name) for name in ("graph_id", "name", "description", "context", "metadata")}
    changes = {name: value for name, value in named.items() if value is not None and name in body.model_fields_set}
    config = _config(body.config, body.context)
    assistant = await engine.assistants.patch(assistant_id, changes if config is None else changes | {"config": config})
    return JsonResponse(assistant_view(assistant))


@router.delete("/{assistant_id}", summary="Delete an assistant", status_code=204)
async def delete_assistant(
    assistant_id: AssistantId,
    engine: EngineDep,
    delete_threads: Annotated[bool, Query(description="Delete the threads that it ran on last, too.")] = False,
) -> Response:
    """Remove the assistant with its versions. The one that a served graph is reached by stays: 409."""
    deleted = await engine.assistants.delete(assistant_id)
    if delete_threads:
        await engine.threads.delete_of_assistant(deleted)
    return Response(status_code=204)


@router.post("/{assistant_id}/versions", summary="List an assistant's versions, newest first")
async def list_versions(
    assistant_id: AssistantId, body: Annotated[VersionSearch, Depends(JsonBody(VersionSearch))], engine: EngineDep
) -> Response:
    found = await engine.assistants.versions(assistant_id, metadata=body.metadata, limit=body.limit, offset=body.offset)
    return JsonResponse([version_view(version) for version in found])


@router.post("/{assistant_id}/latest", summary="Take up an earlier version of an assistant")
async def set_latest(
    assistant_id: AssistantId, body: Annotated[VersionChoice, Depends(JsonBody(VersionChoice))], engine: EngineDep
) -> Response:
    """Make the assistant what it was at that version; numbers of versions are never used again."""
    return JsonResponse(assistant_view(await engine.assistants.set_latest(assistant_id, body.version)))


def _config(config: RunConfig | None, context: JsonObject | None) -> JsonObject | None:
    """Return the config as it was sent. Raises ContradictoryRequest when a context contradicts it."""
    if config is None:
        return None
    if config.configurable and context:
        raise ContradictoryRequest(
            "Cannot specify both configurable and context. Use context, which replaces configurable."
        )
    return config.model_dump(exclude_none=True)
