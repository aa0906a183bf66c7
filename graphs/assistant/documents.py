"""Owns the search over ingested documents; putting them there is left to `ingestion`.

The worker connects the process's index once, before it runs anything. Nothing is opened at import.
"""

import logging
from collections.abc import Sequence
from typing import cast

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from threadline.graphs.assistant.embedder import Embedder, EmbeddingFailed
from threadline.graphs.assistant.embedding import search_meaning
from threadline.graphs.assistant.state import Passage
from threadline.graphs.assistant.statements import load_statements

logger = logging.getLogger("threadline.documents")

# Longer queries add noise, not hits; and PostgreSQL refuses a word of more than 2,046 bytes.
QUERY_LENGTH = 400
RESULTS = 5
# Of each of two rankings, this many are joined; the constant is the usual one, and flattens the first places.
JOINED = 20
_FLATTENING = 60


STATEMENTS = load_statements("documents.sql")


class NoDocuments(RuntimeError):
    """No document index is connected in this process, so documents cannot be searched."""


class DocumentIndex:
    """Search over the ingested documents of one database: for words, and for meaning where there is an embedder.

    The pool belongs to whoever made it and must be open; a connection is held for one query at a time.
    """

    def __init__(self, pool: AsyncConnectionPool, embedder: Embedder | None = None) -> None:
        self._pool = pool
        self._embedder = embedder

    async def search(self, query: str, limit: int = RESULTS) -> list[Passage]:
        """The best passages first: those with every word of the query, or else with any of them.

        With an embedder, both rankings are joined; if its service fails, the words alone decide.
        """
        query = query.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")[:QUERY_LENGTH]
        if self._embedder is None:
            return await self._by_words(query, limit)
        rankings = [await self._by_words(query, JOINED), await self._by_meaning(self._embedder, query)]
        return join_rankings(rankings)[:limit]

    async def _by_words(self, query: str, limit: int) -> list[Passage]:
        for name in ("search_every_word", "search_any_word"):
            async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(STATEMENTS[name], {"query": query, "limit": limit})
                if passages := [cast("Passage", row) for row in await cursor.fetchall()]:
                    return passages
        return []

    async def _by_meaning(self, embedder: Embedder, query: str) -> list[Passage]:
        try:
            return await search_meaning(self._pool, embedder, query, JOINED)
        except EmbeddingFailed as error:
            logger.warning("search.by_words_only", extra={"reason": str(error)})
            return []


def join_rankings(rankings: Sequence[Sequence[Passage]]) -> list[Passage]:
    """One ranking of several, by reciprocal rank fusion: what stands high in both comes before what leads one."""
    scores: dict[tuple[str, int], float] = {}
    passages: dict[tuple[str, int], Passage] = {}
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            key = (passage["path"], passage["position"])
            scores[key] = scores.get(key, 0.0) + 1 / (_FLATTENING + rank)
            passages.setdefault(key, passage)
    return [passages[key] for key in sorted(passages, key=lambda key: -scores[key])]


_connected: DocumentIndex | None = None


def connect(pool: AsyncConnectionPool, embedder: Embedder | None = None) -> DocumentIndex:
    """Let this process's assistants search the documents in the pool's database."""
    global _connected
    _connected = DocumentIndex(pool, embedder)
    return _connected


def disconnect() -> None:
    """Forget the index; searches fail with NoDocuments until another one is connected."""
    global _connected
    _connected = None


def connected_index() -> DocumentIndex:
    """The index of this process. Raises NoDocuments."""
    if _connected is None:
        raise NoDocuments(
            "no documents can be searched here: the process that runs this workflow has connected no document index"
        )
    return _connected
