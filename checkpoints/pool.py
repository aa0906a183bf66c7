"""Owns connections to Postgres: how they are opened, named and checked; who uses them is the callers' affair."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from select import POLLIN, poll
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


@dataclass(frozen=True, slots=True)
class Database:
    """Where the data lives.

    `conninfo` is a libpq URL or key/value string. With `pooler` the URL leads to a transaction pooler
    (PgBouncer and the like): nothing is prepared and no session state is used on it; `direct_conninfo`
    is then the way around it for LISTEN and migrations, if there is one.
    """

    conninfo: str
    pooler: bool = False
    direct_conninfo: str | None = None
    pool_size: int = 16
    acquire_timeout: float = 30.0  # seconds a caller waits for a free connection

    def connection_arguments(self, name: str) -> dict[str, Any]:
        """Return psycopg's keyword arguments; `name` shows in pg_stat_activity as `threadline/<name>`."""
        return {
            "autocommit": True,
            "prepare_threshold": None if self.pooler else 3,
            "application_name": f"threadline/{name}",
            "connect_timeout": 5,
            # A peer that vanished without a word is noticed within a minute instead of two hours.
            "keepalives": 1,
            "keepalives_idle": 20,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            "tcp_user_timeout": 30_000,  # milliseconds; what was sent and not acknowledged
        }

    async def connect(self, name: str, *, direct: bool = False) -> AsyncConnection[TupleRow]:
        """Open one connection of its own; `direct` avoids the pooler. Raises psycopg.OperationalError."""
        conninfo = self.direct_conninfo if direct and self.direct_conninfo else self.conninfo
        arguments = self.connection_arguments(name)
        if direct and self.direct_conninfo:
            arguments["prepare_threshold"] = 3
        return await AsyncConnection.connect(conninfo, **arguments)


class _IdleCheck:
    """Refuses a pooled connection that died while nobody used it.

    A connection the server closed shows it on its socket, which costs no round trip to see. One that a
    firewall dropped silently does not, so after `idle` seconds the server is asked.
    """

    def __init__(self, idle: float = 20.0) -> None:
        self._idle = idle
        self._seen: WeakKeyDictionary[AsyncConnection[Any], float] = WeakKeyDictionary()

    async def __call__(self, connection: AsyncConnection[Any]) -> None:
        now = monotonic()
        # Nobody has asked anything, so whatever the server said is most likely its goodbye.
        if _has_unread_input(connection) or now - self._seen.get(connection, now) > self._idle:
            await connection.execute("select 1")
        self._seen[connection] = now


def _has_unread_input(connection: AsyncConnection[Any]) -> bool:
    poller = poll()
    poller.register(connection.fileno(), POLLIN)
    return bool(poller.poll(0))


@asynccontextmanager
async def open_pool(database: Database, name: str) -> AsyncIterator[Pool]:
    """Open a pool of autocommit connections and close it at the end of the block.

    Waits up to 30 s for the first connection and raises psycopg_pool.PoolTimeout after that.
    """
    pool: Pool = AsyncConnectionPool(
        database.conninfo,
        kwargs=database.connection_arguments(name),
        min_size=1,
        max_size=database.pool_size,
        timeout=database.acquire_timeout,
        max_idle=300.0,
        max_lifetime=1800.0,
        check=_IdleCheck(),
        name=name,
        open=False,
    )
    await pool.open(wait=True, timeout=30.0)
    try:
        yield pool
    finally:
        await pool.close()
