"""Owns the routes about the server itself: whether it lives, and what it can do."""

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from threadline.api.dependencies import EngineDep
from threadline.api.responses import JsonResponse

router = APIRouter(tags=["System"])


@router.get("/", include_in_schema=False)
@router.head("/ok", include_in_schema=False)
@router.get("/ok", summary="Whether the server lives")
async def ok(
    engine: EngineDep, check_db: Annotated[bool, Query(description="Ask the database, too.")] = False
) -> Response:
    """Answer 200; with `check_db` 503 when the database does not answer."""
    if check_db:
        async with engine.pool.connection() as connection:
            await engine.pool.check_connection(connection)
    return JsonResponse({"ok": True, "services": {}})


@router.get("/info", summary="What the server is and can do")
async def info(engine: EngineDep) -> Response:
    """Answer with versions and flags; where runs are traced, also with what became of this process's traces."""
    described = {
        "version": version("threadline"),
        "langgraph_py_version": version("langgraph"),
        "flags": {"assistants": True, "crons": False, "langsmith": engine.tracing.is_on},
    }
    if engine.tracing.is_on:
        described["tracing"] = engine.tracing.view()
    return JsonResponse(described)
