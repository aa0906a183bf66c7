"""Owns threads as clients make, label, find and remove them; what runs write on them is the writer's business."""

from collections.abc import Callable, Sequence
from typing import Any, Literal
from uuid import UUID, uuid4

from psycopg.rows import kwargs_row

from threadline.checkpoints.pool import Connections
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import Vault, vault_of
from threadline.runs.callers import clear_thread, permit
from threadline.runs.copies import copy_thread, measure_thread
from threadline.runs.deliveries import disown_deliveries
from threadline.runs.errors import Invalid, ThreadExists, ThreadNotFound
from threadline.runs.identity import uuid7
from threadline.runs.metadata import encode_argument, encode_metadata
from threadline.runs.model import JsonObject, Thread, ThreadStatus, Ttl
from threadline.runs.sealed_rows import open_threads, refuse_search

_SQL = load_statements("threadline.runs", "threads.sql")
_SWEEP = load_statements("threadline.runs", "sweep.sql")

BATCH = 200  # threads that one transaction deletes

# One more than the largest page, so that a caller can ask whether there is a next one.
MAX_FOUND = 1001

IfExists = Literal["raise", "do_nothing"]
ThreadOrder = Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"]
Direction = Literal["asc", "desc"]


NO_TTL = Ttl()


async def permit_creation(thread_id: UUID, metadata: JsonObject, ttl: Ttl, if_exists: IfExists) -> JsonObject:
    """Return the parameters that create a thread, as its creator may. Raises Invalid, and what the rules raise."""
    value: JsonObject = {"thread_id": thread_id, "metadata": dict(metadata), "if_exists": if_exists}
    granted = await permit("threads", "create", value)
    return _parameters(thread_id, value["metadata"], ttl) | {"granted": granted}


def _parameters(thread_id: UUID, metadata: JsonObject, ttl: Ttl) -> JsonObject:
    return {
        "thread_id": thread_id,
        "metadata": encode_metadata(metadata),
        "ttl_minutes": ttl.minutes,
        "ttl_strategy": str(ttl.strategy) if ttl.strategy else None,
    }


def _thread(*, status: str, **columns: Any) -> Thread:
    return Thread(status=ThreadStatus(status), **columns)


def _tell_nobody(thread_id: UUID) -> None:
    """For use without streams."""


class Threads:
    """The threads of one database."""

    def __init__(self, pool: Connections, announce: Callable[[UUID], None] = _tell_nobody) -> None:
        self._pool = pool
        self._announce = announce

    def within(self, transaction: Connections) -> "Threads":
        """Return the same threads for whoever creates some in a transaction of its own."""
        return Threads(transaction, self._announce)

    async def create(
        self,
        thread_id: UUID | None = None,
        metadata: JsonObject | None = None,
        if_exists: IfExists = "raise",
        ttl: Ttl = NO_TTL,
    ) -> Thread:
        """Create a thread, with an id of our own unless one is given, and return it.

        Without a `ttl` it gets the default. Raises ThreadExists, unless `if_exists` says to leave a thread of that
        id as it is and return it, and Invalid for metadata the database cannot hold.
        """
        thread_id = thread_id or uuid7()
        parameters = await permit_creation(thread_id, metadata or {}, ttl, if_exists)
        thread = await self._one("create", parameters)
        if thread is None and if_exists == "do_nothing":
            # Deleted between the two statements, it can be created after all.
            thread = await self._one("get", parameters) or await self._one("create", parameters)
        if thread is None:
            raise ThreadExists(thread_id)
        return thread

    async def get(self, thread_id: UUID) -> Thread:
        """Return the thread; it is `busy` while runs wait or work. Raises ThreadNotFound."""
        await clear_thread(self._pool, thread_id)
        return self._found(thread_id, await self._one("get", {"thread_id": thread_id, "granted": "{}"}))

    async def patch(self, thread_id: UUID, metadata: JsonObject, ttl: Ttl = NO_TTL) -> Thread:
        """Merge `metadata` into the thread's, key by key, and begin its time to live anew.

        Raises ThreadNotFound and Invalid.
        """
        value: JsonObject = {"thread_id": thread_id, "metadata": dict(metadata)}
        granted = await permit("threads", "update", value)
        parameters = _parameters(thread_id, value["metadata"], ttl) | {"granted": granted}
        return self._found(thread_id, await self._one("patch", parameters))

    async def delete(self, thread_id: UUID) -> None:
        """Remove the thread with its runs, events and checkpoints. Raises ThreadNotFound.

        A run at work on it can write nothing from then on, and stops at its next write.
        """
        await clear_thread(self._pool, thread_id, "delete")
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(_SQL["lock_head"], {"thread_id": thread_id})
            if await cursor.fetchone() is None:
                raise ThreadNotFound(thread_id)
            await connection.execute(_SQL["delete"], {"thread_id": thread_id})
            await disown_deliveries(connection, [thread_id])
        self._announce(thread_id)

    async def delete_of_assistant(self, assistant_id: UUID) -> int:
        """Remove the threads whose last run was the assistant's, as `delete` does, and return how many there were.

        Those that the caller may not delete stay.
        """
        deleted = 0
        granted = await permit("threads", "delete", {"thread_id": None, "assistant_id": assistant_id})
        while gone := await self._delete_some_of(assistant_id, granted):
            for thread_id in gone:
                self._announce(thread_id)
            deleted += len(gone)
        return deleted

    async def _delete_some_of(self, assistant_id: UUID, granted: str) -> list[UUID]:
        async with self._pool.connection() as connection, connection.transaction():
            parameters = {"assistant_id": assistant_id, "batch": BATCH, "granted": granted}
            cursor = await connection.execute(_SQL["lock_threads_of_assistant"], parameters)
            found = [row[0] for row in await cursor.fetchall()]
            if found:
                await connection.execute(_SWEEP["delete_threads"], {"thread_ids": found})
                await disown_deliveries(connection, found)
        return found

    async def search(
        self,
        *,
        metadata: JsonObject | None = None,
        values: JsonObject | None = None,
        status: ThreadStatus | None = None,
        ids: Sequence[UUID] = (),
        limit: int = 10,
        offset: int = 0,
        sort_by: ThreadOrder = "created_at",
        sort_order: Direction = "desc",
    ) -> list[Thread]:
        """Return the threads whose metadata and values contain what is given, hidden ones left out.

        `limit` is 1 to 1001: a page of at most 1000 and one more to see whether another follows. Raises Invalid.
        """
        if not 1 <= limit <= MAX_FOUND:
            raise Invalid(f"limit must be between 1 and {MAX_FOUND - 1}, not {limit}")
        if offset < 0:
            raise Invalid(f"offset must not be negative, but is {offset}")
        vault = vault_of(self._pool)
        parameters = await _filters(
            vault, metadata, values, status, ids=list(ids) or None, limit=limit, offset=offset
        ) | {
            "ids": list(ids) or None,
            "order": f"{sort_by} {sort_order}",
            "limit": limit,
            "offset": offset,
        }
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=kwargs_row(_thread)) as cursor,
        ):
            await cursor.execute(_SQL["search"], parameters)
            found = await cursor.fetchall()
        return await open_threads(vault, found)

    async def count(
        self,
        *,
        metadata: JsonObject | None = None,
        values: JsonObject | None = None,
        status: ThreadStatus | None = None,
    ) -> int:
        """Return how many threads `search` finds without a limit. Raises Invalid."""
        parameters = await _filters(vault_of(self._pool), metadata, values, status)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["count"], parameters)
            row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def copy(self, thread_id: UUID) -> Thread:
        """Return a new thread with this one's metadata, state and past, without its runs. Raises ThreadNotFound."""
        await clear_thread(self._pool, thread_id)
        target = uuid4()
        value: JsonObject = {"thread_id": target, "metadata": {}, "if_exists": "raise"}
        await permit("threads", "create", value)
        await copy_thread(self._pool, thread_id, target, encode_metadata(value["metadata"]))
        return await self.get(target)

    async def measure(self, thread_id: UUID) -> JsonObject:
        """Return the bytes that the thread's checkpoints take, by what they hold. Raises ThreadNotFound."""
        await clear_thread(self._pool, thread_id)
        return await measure_thread(self._pool, thread_id)

    async def _one(self, statement: str, parameters: JsonObject) -> Thread | None:
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=kwargs_row(_thread)) as cursor,
        ):
            await cursor.execute(_SQL[statement], parameters)
            thread = await cursor.fetchone()
        return None if thread is None else (await open_threads(vault_of(self._pool), [thread]))[0]

    @staticmethod
    def _found(thread_id: UUID, thread: Thread | None) -> Thread:
        if thread is None:
            raise ThreadNotFound(thread_id)
        return thread


async def _filters(
    vault: Vault, metadata: JsonObject | None, values: JsonObject | None, status: ThreadStatus | None, **others: Any
) -> JsonObject:
    """Return what both statements filter by: what was asked for, and what the caller may see."""
    value = {"metadata": dict(metadata or {}), "values": dict(values or {}), "status": status, **others}
    granted = await permit("threads", "search", value)
    refuse_search(vault, "values", value["values"])
    return {
        "metadata": encode_metadata(value["metadata"]) if value["metadata"] else None,
        "values": encode_argument(value["values"], "values") if value["values"] else None,
        "status": status,
        "granted": granted,
    }
