"""Owns deliveries of webhooks as clients see them: listed, read, started anew. Delivering is `webhooks`' business.

Whoever may read a thread may see its deliveries, whoever may change it may start them anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.callers import permit
from threadline.runs.errors import Conflict, NotFound
from threadline.runs.metadata import encode_metadata
from threadline.runs.model import JsonObject

DeliveryStatus = Literal["pending", "delivered", "dead"]

_SQL = load_statements("threadline.runs", "deliveries.sql")


class DeliveryNotFound(NotFound):
    def __init__(self, webhook_id: UUID) -> None:
        super().__init__(f"Webhook delivery '{webhook_id}' not found")


class DeliveryUnderWay(Conflict):
    def __init__(self, webhook_id: UUID) -> None:
        super().__init__(f"Webhook delivery '{webhook_id}' is being tried at this moment. Look again in a minute.")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook and what became of it. `due_at` is of the next attempt; `attempt_log` has one entry for each."""

    webhook_id: UUID
    run_id: UUID
    thread_id: UUID
    url: str
    status: DeliveryStatus
    attempts: int
    error: str | None
    due_at: datetime | None
    created_at: datetime
    delivered_at: datetime | None
    died_at: datetime | None
    attempt_log: list[JsonObject]


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The deliveries of one database. `max_attempts` is how often one that is started anew is tried."""

    pool: Pool
    max_attempts: int

    async def search(
        self,
        *,
        status: DeliveryStatus | None = None,
        run_id: UUID | None = None,
        thread_id: UUID | None = None,
        limit: int = 10,
        offset: int = 0,
    ) -> list[Delivery]:
        """Return those that match, newest first, of threads that the caller may find."""
        value: JsonObject = {"metadata": {}, "values": {}, "status": None, "limit": limit, "offset": offset}
        granted = await permit("threads", "search", value)
        parameters = {
            "status": status,
            "run_id": run_id,
            "thread_id": thread_id,
            "limit": limit,
            "offset": offset,
            "granted": granted,
            "metadata": encode_metadata(value["metadata"] or {}),
        }
        return await self._search(parameters)

    async def get(self, webhook_id: UUID) -> Delivery:
        """Return one. Raises DeliveryNotFound, and what the rules raise."""
        return await self._get(webhook_id, "read")

    async def redeliver(self, webhook_id: UUID) -> Delivery:
        """Let one fall due now, whatever became of it, with all its attempts before it, and return it.

        Raises DeliveryNotFound, DeliveryUnderWay, and what the rules raise.
        """
        await self._get(webhook_id, "update")
        async with self.pool.connection() as connection:
            parameters = {"webhook_id": webhook_id, "attempts": self.max_attempts}
            cursor = await connection.execute(_SQL["redeliver"], parameters)
            if await cursor.fetchone() is None:
                raise DeliveryUnderWay(webhook_id)
        return await self._get(webhook_id, "update")

    async def _get(self, webhook_id: UUID, action: str) -> Delivery:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_SQL["find"], {"webhook_id": webhook_id})
            row = await cursor.fetchone()
        if row is None:
            raise DeliveryNotFound(webhook_id)
        granted = await permit("threads", action, {"thread_id": row[0], "run_id": row[1]})
        found = await self._search({"webhook_id": webhook_id, "granted": granted})
        if not found:
            raise DeliveryNotFound(webhook_id)
        return found[0]

    async def _search(self, parameters: JsonObject) -> list[Delivery]:
        async with self.pool.connection() as connection, connection.cursor(row_factory=class_row(Delivery)) as cursor:
            await cursor.execute(_SQL["search"], _ANY | parameters)
            return await cursor.fetchall()


# What filters nothing.
_ANY: JsonObject = {
    "webhook_id": None,
    "run_id": None,
    "thread_id": None,
    "status": None,
    "metadata": "{}",
    "limit": 1,
    "offset": 0,
}


async def disown_deliveries(connection: AsyncConnection[Any], thread_ids: Sequence[UUID]) -> None:
    """In the transaction that deletes these threads: let go what was to be read of their webhooks.

    What is still owed is delivered, and then goes, too.
    """
    await connection.execute(_SQL["disown"], {"thread_ids": list(thread_ids)})
