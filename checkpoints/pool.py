"""Owns connections to Postgres: how they are opened, named and checked; who uses them is the callers' affair."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from select import POLLIN, poll
from time import monotonic
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, Error
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import AsyncConnectionPool

from threadline.checkpoints.connections import SchemaConnection, bind_connections
from threadline.checkpoints.schema import DEFAULT_SCHEMA, Schema
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import PLAIN, Vault

_SQL = load_statements("threadline.checkpoints", "schema.sql")


class Connections(Protocol):
    """What gives connections: a pool, or a transaction that gives everybody its own."""

    vault: Vault

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection[TupleRow]]:
        """Have a connection for the length of a block."""


IDLE_SECONDS = 20.0  # after which a connection has to prove that it lives
# The library doubles the pause between attempts to connect, without end: an outage would last twice as long.
RECONNECT_SECONDS = 1.0
MOST_WAITING = 10_000  # callers that wait for a connection at once; who comes then is refused as by a timeout


@dataclass(frozen=True, slots=True)
class Database:
    """Where the data lives.

    `conninfo` is a libpq URL or key/value string. With `pooler` the URL leads to a transaction pooler
    (PgBouncer and the like): nothing is prepared and no session state is used on it; `direct_conninfo`
    is then the way around it for LISTEN and migrations, if there is one. All tables are in `schema_name`, whatever
    `search_path` a connection has. What may hold what users said goes through `vault`, which pools and
    connections carry along (`vault_of`).
    """

    conninfo: str
    pooler: bool = False
    direct_conninfo: str | None = None
    pool_size: int = 16
    acquire_timeout: float = 30.0  # seconds a caller waits for a free connection
    vault: Vault = PLAIN
    schema_name: str = DEFAULT_SCHEMA
    schema: Schema = field(init=False, repr=False, compare=False)
    connection_class: type[SchemaConnection[TupleRow]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        schema = Schema(self.schema_name)
        object.__setattr__(self, "schema", schema)
        object.__setattr__(self, "connection_class", bind_connections(schema, self.vault))

    @property
    def has_sessions(self) -> bool:
        """Whether some connection keeps its session: the pooler's don't, the one past it does."""
        return not self.pooler or self.direct_conninfo is not None

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
        return await self.connection_class.connect(conninfo, **arguments)

    async def locate_extensions(self, connection: AsyncConnection[Any]) -> None:
        """Find out in which schema the extension `vector` is, or is to be: it is there once for all of a database."""
        cursor = await connection.cursor(row_factory=tuple_row).execute(
            _SQL["extensions"], {"schema": self.schema_name}
        )
        (place,) = await cursor.fetchone() or (DEFAULT_SCHEMA,)
        self.schema.place_extensions(place)


class CheckedPool(AsyncConnectionPool[AsyncConnection[TupleRow]]):
    """A pool that never hands out a connection that died while nobody used it.

    A connection the server closed shows it on its socket, which costs no round trip to see. One that a
    firewall dropped silently does not, so after IDLE_SECONDS the server is asked. The library's own `check`
    does the same, but pauses a second and more between dead connections: after a restart of the server, for
    as long as there are any.
    """

    vault: Vault = PLAIN

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[TupleRow]:  # noqa: ASYNC109  # not our signature
        """Return a connection that answers. Raises psycopg_pool.PoolTimeout."""
        while True:
            connection = await super().getconn(timeout)
            if await _is_alive(connection):
                return connection
            await connection.close()
            await self.putconn(connection)  # which replaces it in the background


Pool = CheckedPool

_last_used: WeakKeyDictionary[AsyncConnection[Any], float] = WeakKeyDictionary()


async def _is_alive(connection: AsyncConnection[Any]) -> bool:
    now = monotonic()
    idle = now - _last_used.get(connection, now)
    _last_used[connection] = now
    # Nobody has asked anything, so whatever the server said is most likely its goodbye.
    if idle <= IDLE_SECONDS and not _has_unread_input(connection):
        return True
    try:
        await connection.execute("select 1")
    except Error:
        return False
    return True


def _has_unread_input(connection: AsyncConnection[Any]) -> bool:
    poller = poll()
    poller.register(connection.fileno(), POLLIN)
    return bool(poller.poll(0))


@asynccontextmanager
async def open_pool(database: Database, name: str) -> AsyncIterator[Pool]:
    """Open a pool of autocommit connections and close it at the end of the block.

    Waits up to 30 s for the first connection and raises psycopg_pool.PoolTimeout after that.
    """
    pool = CheckedPool(
        database.conninfo,
        connection_class=database.connection_class,
        kwargs=database.connection_arguments(name),
        min_size=1,
        max_size=database.pool_size,
        timeout=database.acquire_timeout,
        max_waiting=MOST_WAITING,
        max_idle=300.0,
        max_lifetime=1800.0,
        reconnect_timeout=RECONNECT_SECONDS,
        reconnect_failed=CheckedPool.check,  # which starts over, for whoever waits
        name=name,
        open=False,
    )
    pool.vault = database.vault
    await pool.open(wait=True, timeout=30.0)
    try:
        async with pool.connection() as connection:
            await database.locate_extensions(connection)
        yield pool
    finally:
        await pool.close()
