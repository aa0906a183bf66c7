"""Owns the one table from errors to statuses and the one shape of an error's body, `{"detail": "<what>"}`.

What can go wrong with a run, and in which words, is `runs.errors`' business.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg import DatabaseError, OperationalError
from psycopg.errors import IdleInTransactionSessionTimeout
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from threadline.api.responses import JsonResponse
from threadline.graphs.auth import Refused
from threadline.runs.callers import NotAllowed
from threadline.runs.errors import (
    Conflict,
    Gone,
    Invalid,
    InvalidItem,
    InvalidState,
    NotFound,
    Overloaded,
    RunError,
    TooManyPending,
    Unreadable,
    VaultError,
)
from threadline.runs.secrets import shown_value

logger = logging.getLogger("threadline.api")

UNAVAILABLE = "The database cannot take the request at the moment. Try again in a few seconds."
SHOWN_PROBLEMS = 5
SHOWN_CHARACTERS = 60


class RequestError(Exception):
    """The request cannot be served as it is; the text says what instead."""


class InvalidRequest(RequestError):
    """A part of the request is not of the form it must have."""


class BadValue(RequestError):
    """The request has the right form, and a value in it means nothing here."""


class ContradictoryRequest(RequestError):
    """Two parts of the request exclude each other."""


class EmptyRequest(RequestError):
    """Nothing is asked for."""


class BodyTooLarge(RequestError):
    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request body is larger than {limit} bytes. Send less, or raise THREADLINE_MAX_BODY_BYTES."
        )


STATUS_OF: Mapping[type[Exception], int] = {
    BadValue: 400,
    ContradictoryRequest: 400,
    EmptyRequest: 400,
    InvalidItem: 400,
    InvalidState: 400,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    BodyTooLarge: 413,
    Invalid: 422,
    InvalidRequest: 422,
    TooManyPending: 429,
    OperationalError: 503,
    IdleInTransactionSessionTimeout: 503,  # this process stood still, and somebody else had the thread meanwhile
    # Nobody's request is at fault: a key is missing here, or somebody has changed what is stored.
    VaultError: 500,
    Unreadable: 500,
    # Nothing more is known of it than that this request was not served.
    RunError: 503,
}


def install_error_table(app: FastAPI) -> None:
    """Make `app` answer every error of the table, and the framework's own, in the one shape."""
    for kind in (*STATUS_OF, Refused):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)


def error_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JsonResponse:
    """Return the one shape of an error."""
    return JsonResponse({"detail": detail}, status, dict(headers or {}))


def invalid_model(error: ValidationError, whole: str) -> InvalidRequest:
    """Return what is wrong with a value that a model refused; `whole` names the value itself."""
    problems = error.errors(include_url=False, include_context=False)
    return InvalidRequest(_explain(problems, whole))


def known_error(error: Exception) -> JsonResponse | None:
    """Return what the table says about `error`, None when it says nothing."""
    if isinstance(error, Refused):
        return error_response(error.status, error.detail, error.headers)
    status = next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), None)
    if status is None:
        return None
    if isinstance(error, DatabaseError):
        logger.warning("request.unavailable", extra={"error": repr(error)})
        return error_response(status, UNAVAILABLE, {"retry-after": "1"})
    if isinstance(error, VaultError | Unreadable):
        logger.error("request.unreadable", extra={"error": str(error)})
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, TooManyPending | Overloaded) else None
    return error_response(status, str(error), headers)


def invalid_id(name: str) -> InvalidRequest:
    """Return what is wrong with the part `name` of a path, which is an id."""
    return InvalidRequest(f"Invalid {name.removesuffix('_id')} ID: must be a UUID")


async def _answer(_: Request, error: Exception) -> JsonResponse:
    response = known_error(error)
    assert response is not None
    return response


async def _answer_http(_: Request, error: Exception) -> JsonResponse:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, error.detail, error.headers)


async def _answer_validation(_: Request, error: Exception) -> JsonResponse:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    for problem in problems:
        part, *names = problem["loc"]
        if part == "path" and names:
            return error_response(422, str(invalid_id(str(names[0]))))
    return error_response(422, _explain([each | {"loc": each["loc"][1:]} for each in problems], "request"))


def _explain(problems: Sequence[Mapping[str, Any]], whole: str) -> str:
    told = [_explain_one(problem, whole) for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        told.append(f"and {len(problems) - SHOWN_PROBLEMS} more")
    return "; ".join(told)


def _explain_one(problem: Mapping[str, Any], whole: str) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or whole
    if problem["type"] == "missing":
        return f"{field}: missing, but required"
    text = "must be an object" if problem["type"] in ("dict_type", "model_type") else problem["msg"]
    given = repr(shown_value(str(problem["loc"][-1]) if problem["loc"] else whole, problem["input"]))
    if len(given) > SHOWN_CHARACTERS:
        given = given[:SHOWN_CHARACTERS] + "..."
    # A lone surrogate in what was given has no place in the answer's UTF-8.
    given = given.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{field}: {text}, got {given}"
