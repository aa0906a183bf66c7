"""Owns the sealing anew of what is stored: under the key that writes now, or, of a copied thread, for its new places.

It reads state only, so whoever stops it may start it again. Which rows are due is `rewriting.sql`'s, how a value of
each table is sealed anew `renewal`'s.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.renewal import RENEWALS, Renewal
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import Vault, VaultError, vault_of

logger = logging.getLogger("threadline.rewriting")

PAGE_ROWS, PAGE_BYTES = 200, 8 * 1024 * 1024  # of one transaction
PAUSE = 0.5  # seconds before rows are looked for again that somebody held
_SQL = load_statements("threadline.checkpoints", "rewriting.sql")
_OF_A_COPY = ("checkpoints", "blobs", "writes", "threads")

# Called with the table and how many of its rows were just rewritten.
OnProgress = Callable[[str, int], None]


@dataclass(slots=True)
class Rewritten:
    """What came of it: rows by table, and why others could not be opened."""

    rows: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


async def count_due(pool: Pool) -> dict[str, int]:
    """Return how many rows of each table are not sealed with the key that writes."""
    counts = {}
    async with pool.connection() as connection:
        for table in RENEWALS:
            cursor = await connection.execute(_SQL[f"count_{table}"], {"key_id": vault_of(pool).writes})
            row = await cursor.fetchone()
            counts[table] = row[0] if row else 0
    return counts


async def rewrite_all(pool: Pool, on_progress: OnProgress = lambda _table, _rows: None) -> Rewritten:
    """Seal every value with the key that writes, page by page, while runs write on. Rows that cannot be opened stay."""
    result = Rewritten()
    for table, renewal in RENEWALS.items():
        while True:
            round_ = await _round(pool, table, renewal, on_progress)
            result.rows[table] = result.rows.get(table, 0) + round_.rewritten
            if not round_.held:
                result.failures += round_.failures
                break
            await asyncio.sleep(PAUSE)
    return result


async def seal_copy(connection: AsyncConnection[Any], source: UUID | str, target: UUID | str) -> None:
    """Seal the values of a thread that were copied from another one for their new places, in the caller's transaction.

    Raises VaultError.
    """
    vault = vault_of(connection)
    if not vault.seals:
        return
    for table in _OF_A_COPY:
        after = RENEWALS[table].start
        while True:
            page = await _page(connection, table, after, thread_id=str(target), everything=True)
            for row in page:
                await _put(connection, vault, table, row, str(source))
            if not page:
                break
            after = _keys(RENEWALS[table], page[-1])


@dataclass(slots=True)
class _Round:
    rewritten: int = 0
    held: bool = False
    failures: list[str] = field(default_factory=list)


async def _round(pool: Pool, table: str, renewal: Renewal, on_progress: OnProgress) -> _Round:
    """Go through a table once."""
    result = _Round()
    after = renewal.start
    while True:
        async with pool.connection() as connection, connection.transaction():
            page = await _page(connection, table, after)
            written = 0
            for row in page:
                if renewal.is_held(row):
                    result.held = True
                    continue
                try:
                    await _put(connection, vault_of(pool), table, row, None)
                    written += 1
                except VaultError as error:
                    logger.error("rewriting.refused", extra={"table": table, "error": str(error)})
                    result.failures.append(str(error))
        result.rewritten += written
        on_progress(table, written)
        if not page:
            return result
        after = _keys(renewal, page[-1])


async def _page(
    connection: AsyncConnection[Any],
    table: str,
    after: Mapping[str, Any],
    thread_id: str | None = None,
    everything: bool = False,
) -> list[dict[str, Any]]:
    parameters = {f"after_{key}": value for key, value in after.items()} | {
        "thread_id": thread_id,
        "everything": everything,
        "key_id": vault_of(connection).writes,
        "rows": PAGE_ROWS,
        "bytes": PAGE_BYTES,
    }
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SQL[f"page_{table}"], parameters)
        return await cursor.fetchall()


async def _put(
    connection: AsyncConnection[Any], vault: Vault, table: str, row: dict[str, Any], source: str | None
) -> None:
    renewal = RENEWALS[table]
    changed = await renewal.renew(vault, row, source)
    await connection.execute(_SQL[f"put_{table}"], {**_keys(renewal, row), **changed})


def _keys(renewal: Renewal, row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in renewal.start}
