"""Owns the project's own rules of access: calling the handlers of its `langgraph_sdk.Auth`, and reading their answers.

Which request is asked about, and what a filter does to a statement, is left to those who call.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from langgraph_sdk import Auth
from langgraph_sdk.auth.exceptions import HTTPException
from langgraph_sdk.auth.types import AuthContext, BaseUser

from threadline.graphs.users import User, read_user

JsonObject = dict[str, Any]

# What a handler may ask for by the name of its parameter.
REQUEST_PARTS = frozenset(
    {"request", "body", "path", "method", "path_params", "query_params", "headers", "authorization", "scope"}
)
EVERYTHING: JsonObject = {}
_SCALARS = (str, int, float, bool, type(None))


class Refused(Exception):
    """A handler refuses the request: with this status, text and headers."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        super().__init__(detail)


class UnusableRule(Exception):
    """A handler answered with what cannot be applied; nothing is shown rather than too much."""


class AccessRules:
    """The handlers of one `Auth` object. Raises TypeError for one that cannot decide who somebody is."""

    def __init__(self, auth: Auth) -> None:
        handler = auth._authenticate_handler
        if handler is None:
            raise TypeError("it has no `@auth.authenticate` handler, so nobody could be let in")
        self._auth = auth
        self._authenticate = handler
        self._parameters = _asked_parts(handler)

    @property
    def reads_body(self) -> bool:
        """Whether the body has to be read before anybody is let in."""
        return "body" in self._parameters

    @property
    def has_handlers(self) -> bool:
        """Whether anything is decided beyond who somebody is."""
        return bool(self._auth._handlers or self._auth._global_handlers)

    async def authenticate(self, parts: Mapping[str, Callable[[], Any]]) -> User:
        """Return who sends the request; `parts` makes what the handler asks for. Raises Refused."""
        arguments = {name: parts[name]() for name in self._parameters}
        handler = cast(Callable[..., Any], self._authenticate)
        try:
            if inspect.iscoroutinefunction(handler):
                described = await handler(**arguments)
            else:
                described = await asyncio.to_thread(handler, **arguments)
                if inspect.isawaitable(described):
                    described = await described
        except Exception as error:
            raise _refusal(error, 401, "Unauthorized") from error
        if described is None:
            raise Refused(401, "Unauthorized")
        user = read_user(described)
        if not user.is_authenticated:
            raise Refused(401, "Unauthorized")
        return user

    async def authorize(self, user: User, resource: str, action: str, value: JsonObject) -> JsonObject:
        """Return what the metadata of a resource must contain for this user; `{}` for anything.

        The most specific handler decides, and may change `value`. Raises Refused, and UnusableRule.
        """
        handler = self._handler(resource, action)
        if handler is None:
            return EVERYTHING
        context = AuthContext(
            permissions=user.permissions,
            user=cast(BaseUser, user),
            resource=cast(Any, resource),
            action=cast(Any, action),
        )
        try:
            answer = await handler(ctx=context, value=value)
        except Exception as error:
            raise _refusal(error, 403, "Forbidden") from error
        if answer is None or answer is True:
            return EVERYTHING
        if answer is False:
            raise Refused(403, "Forbidden")
        wanted = read_filter(answer)
        if wanted and resource == "store":
            # Items have no metadata: to go on would be to show them all.
            raise Refused(
                403, "Forbidden: a filter says nothing about the store; scope it in an @auth.on.store handler"
            )
        return wanted

    def _handler(self, resource: str, action: str) -> Callable[..., Awaitable[Any]] | None:
        for key in ((resource, action), (resource, "*"), ("*", action)):
            if found := self._auth._handlers.get(key):
                return found[-1]
        return self._auth._global_handlers[-1] if self._auth._global_handlers else None


def read_filter(answer: object) -> JsonObject:
    """Return a filter as what `jsonb` must contain. Raises UnusableRule for what containment cannot say."""
    if not isinstance(answer, Mapping):
        raise UnusableRule(f"a handler returned {type(answer).__name__}: return None, a bool or a filter")
    return {str(key): _contained(str(key), condition) for key, condition in answer.items()}


def _contained(key: str, condition: object) -> Any:
    if isinstance(condition, _SCALARS):
        return condition
    if isinstance(condition, Mapping) and len(condition) == 1:
        ((operator, operand),) = condition.items()
        if operator == "$eq" and isinstance(operand, _SCALARS):
            return operand
        if operator == "$contains" and isinstance(operand, _SCALARS):
            return [operand]
        if (
            operator == "$contains"
            and isinstance(operand, list | tuple)
            and all(isinstance(v, _SCALARS) for v in operand)
        ):
            return list(operand)
    raise UnusableRule(
        f"the filter of {key!r} cannot be applied: write a plain value, {{'$eq': value}}, {{'$contains': value}} "
        "or {'$contains': [values]}"
    )


def _asked_parts(handler: Callable[..., Any]) -> tuple[str, ...]:
    asked: list[str] = []
    for name, parameter in inspect.signature(handler).parameters.items():
        if name in REQUEST_PARTS:
            asked.append(name)
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            known = ", ".join(sorted(REQUEST_PARTS))
            raise TypeError(f"`@auth.authenticate` asks for {name!r}; it may ask for {known}")
    return tuple(asked)


def _refusal(error: Exception, status_of_assertion: int, text: str) -> Exception:
    """Return what a handler's exception means; anything it did not mean as an answer stays a failure.

    An assertion is an answer: that is how the handlers of LangGraph's own documents refuse.
    """
    if isinstance(error, AssertionError):
        return Refused(status_of_assertion, str(error) or text)
    if isinstance(error, HTTPException):
        return Refused(error.status_code, str(error.detail), error.headers)
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 500:
        return Refused(status, str(getattr(error, "detail", error)), getattr(error, "headers", None))
    return error
