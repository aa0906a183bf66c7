"""Owns idempotency keys: what a request makes is made once, however often the request is sent under its key.

The key is written in the transaction that makes it. Reading a key from a request, and what is answered the second
time, is the API's affair.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from threadline.checkpoints.pool import Connections, Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.encoding import encode
from threadline.runs.errors import Conflict, Gone

T = TypeVar("T")

_SQL = load_statements("threadline.runs", "idempotency.sql")

KEPT = timedelta(hours=24)
PATIENCE = "5s"  # how long a request waits for a twin that is being served
BATCH = 5000  # keys that one statement sweeps

Ids = dict[str, str]


@dataclass(frozen=True, slots=True)
class Key:
    """What a client sent with its request: `fingerprint` is of the request, `caller` of who sent it."""

    caller: bytes
    idempotency_key: str
    fingerprint: bytes


class KeyReused(Conflict):
    def __init__(self, key: str) -> None:
        super().__init__(
            f"The Idempotency-Key {key!r} was sent with another request before. "
            "Send the request as it was, or give this one a key of its own."
        )


class MadeAndGone(Gone):
    def __init__(self, kind: str, identity: str) -> None:
        super().__init__(
            f"{kind} {identity}, which this Idempotency-Key made, cannot be found any more: it was deleted, rolled "
            "back or swept. Send the request with another key to have it done again."
        )


class _MadeAlready(Exception):
    """A twin of the request was served while this one was on its way."""

    def __init__(self, made: list[Ids]) -> None:
        super().__init__()
        self.made = made


class Keyed:
    """The transaction in which a key is taken and what it stands for is made.

    It begins when somebody first asks for a connection, and everybody is given the same one: no connection is held
    while access is asked about before that. `on_commit` keeps what is to be told to others once they can see it.
    """

    def __init__(self, pool: Pool, key: Key) -> None:
        self._pool = pool
        self.vault = pool.vault
        self._key = key
        self._stack = AsyncExitStack()
        self._connection: AsyncConnection[TupleRow] | None = None
        self._told: list[Callable[[], None]] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Yield the one connection, in its transaction. Raises KeyReused."""
        if self._connection is None:
            connection = await self._stack.enter_async_context(self._pool.connection())
            await self._stack.enter_async_context(connection.transaction())
            await self._take(connection)
            self._connection = connection
        yield self._connection

    def on_commit(self, tell: Callable[[], None]) -> None:
        """Call `tell` when everything is committed."""
        self._told.append(tell)

    async def run(self, make: Callable[["Keyed"], Awaitable[T]], ids: Callable[[T], Sequence[Ids]]) -> T:
        """Return what `make` makes; nothing is made, and the key stays free, when it raises."""
        async with self._stack:
            value = await make(self)
            async with self.connection() as connection:
                made = {"made": encode(ids(value)).decode()}
                await connection.execute(_SQL["record"], _named(self._key) | made)
        for tell in self._told:
            tell()
        return value

    async def _take(self, connection: AsyncConnection[TupleRow]) -> None:
        await connection.execute(_SQL["wait_no_longer"], {"patience": PATIENCE})
        parameters = _named(self._key) | {"fingerprint": self._key.fingerprint, "kept": KEPT}
        while True:
            cursor = await connection.execute(_SQL["take"], parameters)
            if await cursor.fetchone():
                return
            if (made := await _find(connection, self._key)) is not None:
                raise _MadeAlready(made)
            # Its time ended between the two statements.


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one database."""

    pool: Pool

    async def once(
        self,
        key: Key,
        make: Callable[[Keyed], Awaitable[T]],
        ids: Callable[[T], Sequence[Ids]],
        read: Callable[[Sequence[Ids]], Awaitable[T]],
    ) -> tuple[T, bool]:
        """Make it, or `read` what was made under the key before, and tell whether it was there already.

        `make` gets what gives connections to everything that it does. Raises KeyReused.
        """
        async with self.pool.connection() as connection:
            made = await _find(connection, key)
        if made is None:
            try:
                return await Keyed(self.pool, key).run(make, ids), False
            except _MadeAlready as twin:
                made = twin.made
        return await read(made), True


async def forget_keys(connections: Connections) -> None:
    """Delete the keys whose time is over."""
    swept = BATCH
    while swept == BATCH:
        async with connections.connection() as connection:
            cursor = await connection.execute(_SQL["forget"], {"kept": KEPT, "batch": BATCH})
            swept = len(await cursor.fetchall())


def ids_of(**identities: UUID) -> Ids:
    """Return the ids of one thing that was made, as they are kept."""
    return {name: str(identity) for name, identity in identities.items()}


async def _find(connection: AsyncConnection[TupleRow], key: Key) -> list[Ids] | None:
    cursor = await connection.execute(_SQL["find"], _named(key) | {"kept": KEPT})
    row = await cursor.fetchone()
    if row is None:
        return None
    fingerprint, made = row
    if fingerprint != key.fingerprint:
        raise KeyReused(key.idempotency_key)
    return list(made)


def _named(key: Key) -> dict[str, Any]:
    return {"caller": key.caller, "idempotency_key": key.idempotency_key}
