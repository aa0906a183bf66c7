"""Owns a connection whose statements are numbered, so that one whose answer got lost is never applied twice.

A statement run here compares and sets its batch number in the `writers` row. After a lost connection that row
says whether the statement was committed.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection, AsyncRawCursor, InterfaceError, OperationalError
from psycopg.rows import TupleRow

from threadline.checkpoints.arrays import register_arrays
from threadline.checkpoints.pool import Database
from threadline.checkpoints.statements import Positional, load_statements

_SQL = load_statements("threadline.checkpoints", "journal.sql")

# The statement may succeed if it is repeated as it is: conflicts, shutdowns, lost connections, a full disk,
# too many connections, a standby that is being promoted.
_REPEATABLE_CLASSES = ("40", "08", "57", "53", "58")
_REPEATABLE_STATES = ("25006",)
LOCK_TIMEOUT = "55P03"

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # seconds between attempts while the database cannot take a statement


class Journal:
    """One connection and its row in `writers`. Use it from one task at a time."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._connection: AsyncConnection[TupleRow] | None = None
        self._writer_id = uuid4()
        self._batch = 0
        self._doubtful = False

    async def connect(self) -> AsyncConnection[TupleRow]:
        """Return the connection, opening a new one if the last is broken. Raises psycopg.OperationalError."""
        if self._connection is not None and not self._connection.broken:
            return self._connection
        if self._connection is not None:
            await self._connection.close()
        connection = await self._database.connect(self._name)
        register_arrays(connection)
        if not self._database.pooler:
            connection.prepare_threshold = 0
            await connection.execute(_SQL["use_generic_plan"])
        await self._register(connection)
        self._connection = connection
        return connection

    async def _register(self, connection: AsyncConnection[TupleRow]) -> None:
        await connection.execute(_SQL["register_writer"], {"writer_id": self._writer_id, "batch": self._batch})

    async def execute(self, statement: Positional, parameters: Mapping[str, Any]) -> list[TupleRow] | None:
        """Run `statement` once and return its rows; None means that it was committed and its answer got lost.

        A statement answers at least one row where it finds its number; without any, it was not applied this time.

        After an error for which `may_repeat` is true call again with the same arguments, whatever was said
        in between: if the first attempt was committed after all, the answer is None.
        """
        connection = await self.connect()
        if self._doubtful:
            committed = await self._was_committed(connection)
            self._doubtful = False
            if committed:
                self._batch += 1
                return None
        numbered = {**parameters, "writer_id": self._writer_id, "batch": self._batch + 1}
        try:
            cursor: AsyncRawCursor[TupleRow] = AsyncRawCursor(connection)
            await cursor.execute(self._database.schema.qualify(statement.text), statement.bind(numbered))
            rows = await cursor.fetchall()
            applied = bool(rows) or await self._was_committed(connection)
        except BaseException:
            # Also a cancelled await: whether the server got the statement is unknown then.
            self._doubtful = connection.broken
            raise
        if not applied:
            # Our row was swept, or lost in a failover.
            self._writer_id, self._batch = uuid4(), 0
            await self._register(connection)
            return await self.execute(statement, parameters)
        self._batch += 1
        # Without rows an attempt that was given up has arrived after all.
        return rows or None

    async def _was_committed(self, connection: AsyncConnection[TupleRow]) -> bool:
        cursor = await connection.execute(_SQL["read_batch"], {"writer_id": self._writer_id})
        row = await cursor.fetchone()
        return row is not None and row[0] == self._batch + 1

    async def close(self) -> None:
        """Close the connection; the next use opens another."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


def may_repeat(error: Exception) -> bool:
    """Whether the same statement may succeed later: the database, not the content, was in the way."""
    state = getattr(error, "sqlstate", None)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError | OSError)
    return state[:2] in _REPEATABLE_CLASSES or state in _REPEATABLE_STATES
