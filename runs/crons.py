"""Owns crons as clients see them: created, read, searched, changed, deleted. Firing them is `scheduler`'s."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import class_row

from threadline.checkpoints.pool import Connections
from threadline.checkpoints.sealing import cron_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import Vault, vault_of
from threadline.runs.callers import current_user, permit, with_caller
from threadline.runs.encoding import encode
from threadline.runs.errors import NotFound, ThreadNotFound
from threadline.runs.idempotency import Keyed
from threadline.runs.identity import uuid7
from threadline.runs.metadata import encode_metadata
from threadline.runs.model import JsonObject, MultitaskStrategy
from threadline.runs.schedules import next_moment

CronOrder = Literal["cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "next_run_date", "end_time"]

_SQL = load_statements("threadline.runs", "crons.sql")
_SEALED = ("payload", "kwargs")


class CronNotFound(NotFound):
    def __init__(self, cron_id: UUID) -> None:
        super().__init__(f"Cron '{cron_id}' not found")


@dataclass(frozen=True, slots=True)
class Cron:
    """A run at set times. `payload` is what the client sent; `kwargs` what its runs get before the assistant's."""

    cron_id: UUID
    assistant_id: UUID
    thread_id: UUID | None
    user_id: str | None
    schedule: str
    timezone: str | None
    end_time: datetime | None
    payload: JsonObject
    kwargs: JsonObject
    metadata: JsonObject
    multitask_strategy: str
    on_run_completed: str | None
    enabled: bool
    next_run_date: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class CronRequest:
    """A cron to create; see `Cron`."""

    assistant_id: UUID
    thread_id: UUID | None
    schedule: str
    timezone: str | None
    end_time: datetime | None
    metadata: JsonObject
    payload: JsonObject
    kwargs: JsonObject
    enabled: bool = True
    multitask_strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE
    on_run_completed: str | None = None
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Crons:
    """The crons of one database. `on_change` tells whoever fires them that a time may have changed."""

    pool: Connections
    on_change: Callable[[], None]

    def within(self, transaction: Keyed) -> "Crons":
        """Return the same crons for whoever creates one under a key."""
        return Crons(transaction, lambda: transaction.on_commit(self.on_change))

    async def create(self, request: CronRequest) -> Cron:
        """Create a cron; from its commit on it fires. Raises ThreadNotFound and Invalid."""
        cron_id = uuid7()
        request = await _permitted(request, cron_id)
        async with self.pool.connection() as connection, connection.transaction():
            if request.thread_id is not None:
                cursor = await connection.execute(_SQL["thread_exists"], {"thread_id": request.thread_id})
                if await cursor.fetchone() is None:
                    raise ThreadNotFound(request.thread_id)
            now = await _now(connection)
            parameters = {
                "cron_id": cron_id,
                "assistant_id": request.assistant_id,
                "thread_id": request.thread_id,
                "user_id": request.user_id,
                "schedule": request.schedule,
                "timezone": request.timezone,
                "end_time": request.end_time,
                "payload": encode(named(request.payload, cron_id)).decode(),
                "kwargs": encode(request.kwargs).decode(),
                "metadata": encode_metadata(request.metadata),
                "multitask_strategy": str(request.multitask_strategy),
                "on_run_completed": request.on_run_completed,
                "enabled": request.enabled,
                "next_run_date": next_date(request.schedule, request.timezone, request.end_time, now),
            }
            parameters |= await seal_cron(vault_of(connection), cron_id, parameters)
            cron = await _fetch(connection, "create", parameters)
        self.on_change()
        assert cron is not None
        return cron

    async def get(self, cron_id: UUID) -> Cron:
        """Return a cron. Raises CronNotFound."""
        async with self.pool.connection() as connection:
            cron = await _fetch(connection, "get", {"cron_id": cron_id})
        if cron is None:
            raise CronNotFound(cron_id)
        return cron

    async def patch(
        self, cron_id: UUID, changes: JsonObject, metadata: JsonObject, payload: JsonObject, kwargs: JsonObject
    ) -> Cron:
        """Change a cron: columns by `changes`, `metadata` merged, keys of `payload` and `kwargs` replaced.

        The time of its next run is made anew. Raises CronNotFound and Invalid.
        """
        async with self.pool.connection() as connection, connection.transaction():
            cron = await _fetch(connection, "lock", {"cron_id": cron_id})
            if cron is None:
                raise CronNotFound(cron_id)
            columns = ("schedule", "timezone", "end_time", "on_run_completed", "enabled")
            parameters = {column: changes.get(column, getattr(cron, column)) for column in columns}
            next_run_date = next_date(
                parameters["schedule"], parameters["timezone"], parameters["end_time"], await _now(connection)
            )
            parameters |= {
                "cron_id": cron_id,
                "next_run_date": next_run_date,
                "payload": encode(named({**cron.payload, **payload}, cron_id)).decode(),
                "kwargs": encode({**cron.kwargs, **kwargs}).decode(),
                "metadata": encode_metadata(metadata),
            }
            parameters |= await seal_cron(vault_of(connection), cron_id, parameters)
            changed = await _fetch(connection, "update", parameters)
        self.on_change()
        assert changed is not None
        return changed

    async def delete(self, cron_id: UUID) -> None:
        """Delete a cron; runs that it started go on. Raises CronNotFound."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["delete"], {"cron_id": cron_id})
            if await cursor.fetchone() is None:
                raise CronNotFound(cron_id)

    async def search(
        self,
        *,
        assistant_id: UUID | None = None,
        thread_id: UUID | None = None,
        enabled: bool | None = None,
        metadata: JsonObject | None = None,
        limit: int = 10,
        offset: int = 0,
        sort_by: CronOrder = "created_at",
        sort_order: Literal["asc", "desc"] = "desc",
    ) -> list[Cron]:
        """Return the crons that match, in the order asked for."""
        parameters = {
            "assistant_id": assistant_id,
            "thread_id": thread_id,
            "enabled": enabled,
            "metadata": encode_metadata(metadata) if metadata else None,
            "order": f"{sort_by} {sort_order}",
            "limit": limit,
            "offset": offset,
            "granted": await _grant_search(assistant_id, thread_id),
        }
        async with self.pool.connection() as connection, connection.cursor(row_factory=class_row(Cron)) as cursor:
            await cursor.execute(_SQL["search"], parameters)
            found = await cursor.fetchall()
        return [await open_cron(vault_of(self.pool), cron) for cron in found]

    async def count(
        self, *, assistant_id: UUID | None = None, thread_id: UUID | None = None, metadata: JsonObject | None = None
    ) -> int:
        """Return how many crons match."""
        parameters = {
            "assistant_id": assistant_id,
            "thread_id": thread_id,
            "metadata": encode_metadata(metadata) if metadata else None,
            "granted": await _grant_search(assistant_id, thread_id),
        }
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["count"], parameters)
            row = await cursor.fetchone()
        return int(row[0]) if row else 0


def next_date(schedule: str, timezone: str | None, end_time: datetime | None, after: datetime) -> datetime | None:
    """Return when a cron falls due next, None when that would be behind its end. Raises Invalid."""
    moment = next_moment(schedule, timezone, after)
    return None if moment is None or (end_time is not None and moment > end_time) else moment


def named(payload: JsonObject, cron_id: UUID) -> JsonObject:
    """Return the payload with the cron's id where its runs find it."""
    config = payload.get("config") or {}
    configurable = {**(config.get("configurable") or {}), "cron_id": str(cron_id)}
    return {**payload, "config": {**config, "configurable": configurable}}


async def _permitted(request: CronRequest, cron_id: UUID) -> CronRequest:
    """Return the request as its caller may make it, labelled as theirs; its runs are told who that is."""
    user = current_user()
    config = request.kwargs.get("config") or {}
    told = {**config, "configurable": with_caller(config.get("configurable") or {})}
    value: JsonObject = {
        "cron_id": cron_id,
        "thread_id": request.thread_id,
        "user_id": user.identity if user else None,
        "payload": request.payload,
        "schedule": request.schedule,
        "end_time": request.end_time,
        "metadata": dict(request.metadata),
    }
    granted = orjson.loads(await permit("crons", "create", value))
    return replace(
        request,
        kwargs={**request.kwargs, "config": told},
        metadata={**(value.get("metadata") or {}), **granted},
        user_id=user.identity if user else "",
    )


async def _grant_search(assistant_id: UUID | None, thread_id: UUID | None) -> str:
    return await permit("crons", "search", {"assistant_id": assistant_id, "thread_id": thread_id})


async def _fetch(connection: AsyncConnection[Any], statement: str, parameters: JsonObject) -> Cron | None:
    async with connection.cursor(row_factory=class_row(Cron)) as cursor:
        await cursor.execute(_SQL[statement], parameters)
        cron = await cursor.fetchone()
    return None if cron is None else await open_cron(vault_of(connection), cron)


async def seal_cron(vault: Vault, cron_id: UUID, texts: JsonObject) -> JsonObject:
    """Return the JSON texts of what its runs are given, as they are stored, by column. Raises VaultError."""
    sealed = await vault.seal_json([(cron_place(name, cron_id), texts[name]) for name in _SEALED])
    return dict(zip(_SEALED, sealed, strict=True))


async def open_cron(vault: Vault, cron: Cron) -> Cron:
    """Return the cron as it is shown. Raises VaultError."""
    opened = await vault.open_json([(cron_place(name, cron.cron_id), getattr(cron, name)) for name in _SEALED])
    return replace(cron, **dict(zip(_SEALED, opened, strict=True)))


async def _now(connection: AsyncConnection[Any]) -> datetime:
    cursor = await connection.execute(_SQL["now"])
    row = await cursor.fetchone()
    assert row is not None
    now: datetime = row[0]
    return now
