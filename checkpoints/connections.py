"""Owns connections on which our names mean the tables of one schema; opening them is left to `pool`.

Statements on them are written without a schema, whoever writes them: our own, LangGraph's saver and store, a graph.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

from psycopg import AsyncConnection, AsyncCursor, AsyncServerCursor
from psycopg.abc import Params, Query
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, Row, TupleRow

from threadline.checkpoints.schema import Schema
from threadline.checkpoints.vault import Vault


class SchemaConnection(AsyncConnection[Row]):
    """A connection to the tables of one schema, through one vault; `bind_connections` gives both to the class."""

    schema: Schema
    vault: Vault

    def __init__(self, pgconn: PGconn, *row_factory: AsyncRowFactory[Row]) -> None:
        super().__init__(pgconn, *row_factory)
        self.cursor_factory = SchemaCursor
        self.server_cursor_factory = SchemaServerCursor


def bind_connections(schema: Schema, vault: Vault) -> type[SchemaConnection[TupleRow]]:
    """Return the class of connections to this schema, through this vault.

    Psycopg makes connections of a class, and asks nothing else.
    """
    bound = type("SchemaConnection", (SchemaConnection,), {"schema": schema, "vault": vault, "__module__": __name__})
    return cast("type[SchemaConnection[TupleRow]]", bound)


def _qualified(connection: Any, query: Query) -> Any:
    # What is composed names what it means by itself.
    return connection.schema.qualify(query) if isinstance(query, str | bytes) else query


class SchemaCursor(AsyncCursor[Row]):
    """A cursor as any other, but for the schema."""

    async def execute(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> "SchemaCursor[Row]":
        return await super().execute(_qualified(self.connection, query), params, prepare=prepare, binary=binary)

    async def executemany(self, query: Query, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        await super().executemany(_qualified(self.connection, query), params_seq, returning=returning)

    def stream(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int = 1
    ) -> AsyncIterator[Row]:
        return super().stream(_qualified(self.connection, query), params, binary=binary, size=size)


class SchemaServerCursor(AsyncServerCursor[Row]):
    """The same for a cursor that the server keeps."""

    async def execute(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, **options: Any
    ) -> "SchemaServerCursor[Row]":
        return await super().execute(_qualified(self.connection, query), params, binary=binary, **options)
