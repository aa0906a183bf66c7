"""Owns the short way from a request to a route: past FastAPI's solver, which costs more than the route itself.

What a route needs, its document included, is declared as anywhere in FastAPI; only the reading is ours.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from threadline.api.errors import invalid_id

Read = Callable[[Request], Awaitable[Any]]


class DirectRoute(APIRoute):
    """A route that is handed path parameters and what is read from the request alone, without a solver.

    Measured: 100 instead of 160 microseconds for a `runs/wait`. A route with query parameters, headers or
    dependencies of dependencies goes FastAPI's way.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request; FastAPI's hook for this."""
        readers = _readers(self.dependant)
        endpoint = self.dependant.call
        if readers is None or endpoint is None:
            return super().get_route_handler()

        async def answer(request: Request) -> Response:
            response: Response = await endpoint(**{name: await read(request) for name, read in readers.items()})
            return response

        return answer


def _readers(dependant: Dependant) -> dict[str, Read] | None:
    """Return how each argument of a route is read, in the order they are checked; None where FastAPI must."""
    others = (dependant.query_params, dependant.header_params, dependant.cookie_params, dependant.body_params)
    readers: dict[str, Read] = {}
    for parameter in dependant.path_params:
        if parameter.field_info.annotation is UUID:
            readers[parameter.name] = _read_id(parameter.name)
    for dependency in dependant.dependencies:
        if dependency.name and dependency.call and _reads_request_only(dependency):
            readers[dependency.name] = dependency.call
    expected = len(dependant.path_params) + len(dependant.dependencies)
    return None if any(others) or len(readers) < expected else readers


def _reads_request_only(dependency: Dependant) -> bool:
    asked = (
        dependency.dependencies,
        dependency.path_params,
        dependency.query_params,
        dependency.header_params,
        dependency.cookie_params,
        dependency.body_params,
    )
    return dependency.request_param_name is not None and not any(asked)


def _read_id(name: str) -> Read:
    async def read(request: Request) -> UUID:
        try:
            return UUID(request.path_params[name])
        except ValueError:
            raise invalid_id(name) from None

    return read
