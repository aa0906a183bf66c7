"""Owns the vectors of ingested passages: where they are kept, which are missing, and the search among them.

Making them is left to `embedder`; joining this search with the one for words to `documents`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from psycopg import errors
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from threadline.graphs.assistant.embedder import BATCH, Embedder, EmbeddingFailed
from threadline.graphs.assistant.state import Passage
from threadline.graphs.assistant.statements import load_statements

logger = logging.getLogger("threadline.documents")

STATEMENTS = load_statements("embedding.sql")

_BEFORE_ALL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class EmbeddingReport:
    """How many passages got their vector now, and why others did not; what is missing is made up for next time."""

    passages: int
    problem: str | None = None


async def embed_passages(
    pool: AsyncConnectionPool, embedder: Embedder, *, on_passages: Callable[[int, int], None] | None = None
) -> EmbeddingReport:
    """Give each ingested passage its vector, if it has none of this model.

    `on_passages` is told after each batch how many of how many are done. The search for words needs none of this,
    so a service or an extension that is missing is a problem in the report, and no error.
    """
    if problem := await _make_table(pool):
        logger.warning("embedding.not_possible", extra={"reason": problem})
        return EmbeddingReport(0, problem)
    done, total, last = 0, await _count_missing(pool, embedder.model), (_BEFORE_ALL, 0)
    while batch := await _next_batch(pool, embedder.model, last):
        try:
            vectors = await embedder.embed([f"{row['heading']}\n{row['content']}" for row in batch])
        except EmbeddingFailed as error:
            logger.warning("embedding.failed", extra={"reason": str(error), "passages": total - done})
            return EmbeddingReport(done, str(error))
        await _put(pool, embedder.model, batch, vectors)
        last = (batch[-1]["document_id"], batch[-1]["position"])
        done += len(batch)
        if on_passages is not None:
            on_passages(done, max(total, done))
    return EmbeddingReport(done)


async def search_meaning(pool: AsyncConnectionPool, embedder: Embedder, query: str, limit: int) -> list[Passage]:
    """The passages nearest in meaning to a query; none as long as there are no vectors. Raises EmbeddingFailed."""
    if not await _ask(pool, "embeddings_exist"):
        return []
    (vector,) = await embedder.embed([query])
    parameters = {"embedding": _text(vector), "model": embedder.model, "dimensions": len(vector), "limit": limit}
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(STATEMENTS["search_meaning"], parameters)
        return [cast("Passage", row) for row in await cursor.fetchall()]


async def _make_table(pool: AsyncConnectionPool) -> str | None:
    """Make the table if it is not there; why that cannot be done, if so."""
    if await _ask(pool, "embeddings_exist"):
        return None
    if not await _ask(pool, "vector_is_available"):
        return "this PostgreSQL has no extension vector (pgvector); the search goes by words only"
    try:
        async with pool.connection() as connection, connection.transaction():
            for name in ("create_lock", "create_extension", "create_embeddings"):
                await connection.execute(STATEMENTS[name])
    except errors.InsufficientPrivilege:
        return "the extension vector may only be created by an administrator: create extension vector"
    return None


async def _count_missing(pool: AsyncConnectionPool, model: str) -> int:
    return int(await _ask(pool, "passages_without", {"model": model}))


async def _ask(pool: AsyncConnectionPool, name: str, parameters: dict[str, Any] | None = None) -> Any:
    async with pool.connection() as connection:
        row = await (await connection.execute(STATEMENTS[name], parameters)).fetchone()
    return row[0] if row else None


async def _next_batch(pool: AsyncConnectionPool, model: str, last: tuple[UUID, int]) -> list[dict[str, Any]]:
    parameters = {"model": model, "document_id": last[0], "position": last[1], "limit": BATCH}
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(STATEMENTS["next_without"], parameters)
        return await cursor.fetchall()


async def _put(
    pool: AsyncConnectionPool, model: str, batch: Sequence[dict[str, Any]], vectors: Sequence[Sequence[float]]
) -> None:
    parameters = {
        "model": model,
        "document_ids": [row["document_id"] for row in batch],
        "positions": [row["position"] for row in batch],
        "contents": [row["content"] for row in batch],
        "embeddings": [_text(vector) for vector in vectors],
    }
    async with pool.connection() as connection:
        await connection.execute(STATEMENTS["put_embeddings"], parameters)


def _text(vector: Sequence[float]) -> str:
    return f"[{','.join(map(repr, vector))}]"
