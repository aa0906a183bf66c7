"""Owns on whose behalf something is done, and whether it may be: asked wherever a resource is looked up.

Who the caller is, is found out by the API before a route runs. Work that nobody sent a request for, such as a
run's or a timer's, has no caller and may do everything. What a filter lets through is decided in SQL.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from threadline.checkpoints.pool import Connections
from threadline.checkpoints.statements import load_statements
from threadline.graphs.identity import system_assistant_id
from threadline.graphs.users import User
from threadline.runs.encoding import encode
from threadline.runs.errors import AssistantNotFound, NotFound, ThreadNotFound
from threadline.runs.model import JsonObject

_SQL = load_statements("threadline.runs", "callers.sql")

# What only the server may say in `configurable`: who the caller is, and LangGraph's own hooks.
RESERVED = ("__pregel_", "langgraph_auth_", "langgraph_request_id")


# What may be done with a thread; within one request, who may do one may do those before it.
STEPS = ("read", "update", "delete")


class Rules(Protocol):
    """What decides; `graphs.auth.AccessRules` where langgraph.json has `auth`."""

    async def authorize(self, user: User, resource: str, action: str, value: JsonObject) -> JsonObject:
        """Return what the metadata of a resource must contain; raise where nothing may be done with it."""


class NotAllowed(Exception):
    """The caller may do nothing here, whatever it asks for."""


@dataclass(slots=True)
class Caller:
    """Who sent the request that is being answered.

    Without `rules` nothing is asked: there is no `auth`. Without `user` nothing is allowed. `configurable` is what
    every run of this request is told. `cleared` are the threads that were asked about already, each with the farthest
    of `STEPS` that was allowed.
    """

    user: User | None = None
    rules: Rules | None = None
    configurable: JsonObject = field(default_factory=dict)
    cleared: dict[UUID, int] = field(default_factory=dict)

    def clear(self, thread_id: UUID, action: str) -> None:
        """Remember that this, and what it includes, was allowed."""
        self.cleared[thread_id] = max(self.cleared.get(thread_id, -1), STEPS.index(action))

    def is_cleared(self, thread_id: UUID, action: str) -> bool:
        """Whether this was allowed, or something that includes it."""
        return self.cleared.get(thread_id, -1) >= STEPS.index(action)

    async def permit(self, resource: str, action: str, value: JsonObject) -> JsonObject:
        """Return what the resource's metadata must contain, `{}` for anything."""
        if self.rules is None:
            return {}
        if self.user is None:
            raise NotAllowed("nobody may do this without saying who they are")
        return await self.rules.authorize(self.user, resource, action, value)


_CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)


def current_caller() -> Caller | None:
    """Return who sent the request, None outside of one, and where there is nothing to know of it."""
    return _CALLER.get()


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Do what is in the block on behalf of `caller`."""
    token = _CALLER.set(caller)
    try:
        yield
    finally:
        _CALLER.reset(token)


def current_user() -> User | None:
    """Return the user of the request, if there is one."""
    caller = _CALLER.get()
    return None if caller is None else caller.user


async def permit(resource: str, action: str, value: JsonObject) -> str:
    """Ask whether the caller may, and return what metadata must contain as JSON text for a `jsonb` parameter.

    `{}`, which everything contains, is the answer when nobody is to be asked. `value` is what is to be done, as the
    handlers know it; they may change it, so what is done is to be read from it afterwards. Raises what the
    rules raise.
    """
    caller = _CALLER.get()
    if caller is None or caller.rules is None:
        return "{}"
    return encode(await caller.permit(resource, action, value)).decode()


async def clear_thread(pool: Connections, thread_id: UUID, action: str = "read", /, **value: Any) -> None:
    """Ask once in a request whether the caller may do something with a thread.

    Raises ThreadNotFound for a thread of somebody else, and what the rules raise. One that does not exist passes:
    whoever looks it up says so.
    """
    caller = _CALLER.get()
    if caller is None or caller.rules is None or caller.is_cleared(thread_id, action):
        return
    granted = await caller.permit("threads", action, {"thread_id": thread_id, **value})
    if granted:
        matches = await _matches(pool, "thread_matches", thread_id, granted)
        if matches is None:
            return
        if not matches:
            raise ThreadNotFound(thread_id)
    caller.clear(thread_id, action)


async def clear_assistant(pool: Connections, assistant_id: str, action: str = "read") -> None:
    """Ask whether the caller may do something with the assistant of this id or, of a graph, of this name.

    Raises AssistantNotFound for somebody else's, and what the rules raise.
    """
    caller = _CALLER.get()
    if caller is None or caller.rules is None:
        return
    wanted = as_uuid(assistant_id) or system_assistant_id(assistant_id)
    granted = await caller.permit("assistants", action, {"assistant_id": wanted, "metadata": {}})
    if granted and await _matches(pool, "assistant_matches", wanted, granted) is False:
        raise AssistantNotFound(assistant_id)


async def clear_cron(pool: Connections, cron_id: UUID, action: str = "read") -> None:
    """Ask whether the caller may do something with a cron. Raises NotFound for somebody else's."""
    caller = _CALLER.get()
    if caller is None or caller.rules is None:
        return
    granted = await caller.permit("crons", action, {"cron_id": cron_id})
    if granted and await _matches(pool, "cron_matches", cron_id, granted) is False:
        raise NotFound(f"Cron '{cron_id}' not found")


def as_uuid(text: str) -> UUID | None:
    """Return the id that `text` is, None when it is none."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def with_caller(configurable: JsonObject) -> JsonObject:
    """Return what a run of the present request is told: what was asked for, and who asked for it."""
    caller = _CALLER.get()
    own = without_reserved(configurable)
    return own if caller is None else own | caller.configurable


def without_reserved(given: JsonObject) -> JsonObject:
    """Return what a client may say in `configurable` or `context`."""
    return {key: value for key, value in given.items() if not key.startswith(RESERVED)}


def for_graph(configurable: JsonObject) -> JsonObject:
    """Return `configurable` as a graph finds it: the user that is stored as JSON is one again."""
    fields = configurable.get("langgraph_auth_user")
    return {**configurable, "langgraph_auth_user": User(fields)} if fields else configurable


def describe_user(user: User) -> JsonObject:
    """Return what `configurable` says of the user, as LangGraph Server puts it; what has no JSON form is left out."""
    fields = {key: value for key, value in user.items() if _has_json(value)}
    return {
        "langgraph_auth_user": fields,
        "langgraph_auth_user_id": user.identity,
        "langgraph_auth_permissions": list(user.permissions),
        "user_id": user.identity,
    }


def _has_json(value: Any) -> bool:
    try:
        encode(value)
    except TypeError:
        return False
    return True


async def _matches(pool: Connections, statement: str, identity: UUID, granted: JsonObject) -> bool | None:
    """Tell whether the metadata contains what is granted; None when there is no such row."""
    async with pool.connection() as connection:
        parameters = {"id": identity, "granted": encode(granted).decode()}
        cursor = await connection.execute(_SQL[statement], parameters)
        row = await cursor.fetchone()
    return None if row is None else bool(row[0])
