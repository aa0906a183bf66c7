"""Owns the OpenAPI document: the bodies that routes read past FastAPI, the errors, and the streams."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from threadline.api.dependencies import JsonBody
from threadline.api.errors import STATUS_OF
from threadline.api.idempotency import HEADER, MAX_KEY, REPLAYED, read_key

_REFERENCE = "#/components/schemas/{model}"
_ERROR = {
    "description": "What is wrong, and what instead",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}
        }
    },
}

# Whoever is asked may be unknown to the project's handlers, or not be let in by them.
_ERROR_STATUSES = sorted({str(status) for status in STATUS_OF.values()} | {"401", "403"})


def install_openapi(app: FastAPI, routers: Iterable[APIRouter], security: Mapping[str, Any] | None = None) -> None:
    """Make `app` describe the routes of `routers` as they are, and how to sign in as `security` says."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _secure(_document(app, routes), security or {})
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to replace the document


def _document(app: FastAPI, routes: list[APIRoute]) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    models = dict.fromkeys(model for route in routes if (model := _body_model(route)))
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(definitions.get("$defs", {}))
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"].get(route.path_format, {}).get(method.lower())
            if operation is not None:
                _complete(operation, _body_model(route))
                if any(dependency.call is read_key for dependency in route.dependant.dependencies):
                    _take_key(operation)
    return document


def _secure(document: dict[str, Any], security: Mapping[str, Any]) -> dict[str, Any]:
    """Add what langgraph.json says under `auth.openapi`: schemes, and what paths need."""
    if schemes := security.get("securitySchemes"):
        document.setdefault("components", {})["securitySchemes"] = schemes
    if needed := security.get("security"):
        document["security"] = needed
    for path, methods in (security.get("paths") or {}).items():
        for method, of_method in methods.items():
            if operation := document["paths"].get(path, {}).get(method.lower()):
                operation["security"] = (
                    of_method.get("security", of_method) if isinstance(of_method, dict) else of_method
                )
    return document


def _complete(operation: dict[str, Any], model: type[BaseModel] | None) -> None:
    operation["responses"].pop("422", None)
    for status in _ERROR_STATUSES:
        operation["responses"].setdefault(status, _ERROR)
    if model is not None:
        schema = {"$ref": _REFERENCE.format(model=model.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}


def _take_key(operation: dict[str, Any]) -> None:
    """Say that what the operation makes is made once under a key."""
    key = {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]([ -~]*[!-~])?$"}
    text = "Sent again within 24 hours with the same request, it makes nothing new: the answer is about what is there."
    operation.setdefault("parameters", []).append(
        {"name": HEADER, "in": "header", "required": False, "schema": key, "description": text}
    )
    shown = {"schema": {"type": "string", "const": "true"}, "description": "It was there already."}
    operation["responses"]["200"].setdefault("headers", {})[REPLAYED] = shown


def _body_model(route: APIRoute) -> type[BaseModel] | None:
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, JsonBody):
            model: type[BaseModel] = dependency.call.model
            return model
    return None
