"""Owns the table of the store's vectors: made on demand by LangGraph's own steps, once, and of one form for good."""

import logging
from typing import Any

from langgraph.store.postgres.aio import AsyncPostgresStore
from langgraph.store.postgres.base import PostgresIndexConfig
from psycopg import AsyncConnection, errors
from psycopg.rows import dict_row

from threadline.checkpoints.migrate import MigrationError, schema_lock
from threadline.checkpoints.pool import Database
from threadline.checkpoints.statements import load_statements

logger = logging.getLogger("threadline.migrate")

_SQL = load_statements("threadline.checkpoints", "item_vectors.sql")

# More than these numbers need half of the precision, or pgvector cannot index them.
FULL_PRECISION = 2000


def index_config(dims: int, fields: list[str], embed: Any) -> PostgresIndexConfig:
    """Return the index as LangGraph's store takes it."""
    form = _form(dims).partition("(")[0]
    config: PostgresIndexConfig = {"dims": dims, "fields": fields, "embed": embed}
    config["ann_index_config"] = {"vector_type": "vector" if form == "vector" else "halfvec"}
    return config


def _form(dims: int) -> str:
    return f"{'vector' if dims <= FULL_PRECISION else 'halfvec'}({dims})"


async def prepare_vectors(database: Database, config: PostgresIndexConfig) -> None:
    """Make the table unless it is there. Raises MigrationError without pgvector, and for vectors of another length."""
    async with schema_lock(database) as connection:
        form = await _value(connection, "vector_form")
        if form is not None and form != _form(config["dims"]):
            raise MigrationError(
                f"store.index.dims is {config['dims']}, but the store's vectors are {form}: correct langgraph.json, or "
                "drop the tables store_vectors and vector_migrations and put the items again"
            )
        if not await _value(connection, "vector_is_available"):
            raise MigrationError("store.index needs the extension pgvector, which this PostgreSQL does not have")
        connection.row_factory = dict_row  # type: ignore[assignment]  # the official class reads rows by name
        try:
            await AsyncPostgresStore(connection, index=config).setup()  # type: ignore[arg-type]  # it reads rows by name
        except errors.InsufficientPrivilege as error:
            advice = "let an administrator run `create extension vector`"
            raise MigrationError(f"store.index needs the extension pgvector: {advice} ({error})") from error
    if form is None:
        logger.info("migrate.vectors", extra={"form": _form(config["dims"])})


async def _value(connection: AsyncConnection[Any], statement: str) -> Any:
    cursor = await connection.execute(_SQL[statement])
    row = await cursor.fetchone()
    return row[0] if row else None
