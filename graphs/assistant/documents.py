"""Owns the search over ingested documents; putting them there is left to `ingestion`.

The worker connects the process's index once, before it runs anything. Nothing is opened at import.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import LiteralString, cast

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from threadline.graphs.assistant.state import Passage

# Longer queries add noise, not hits; and PostgreSQL refuses a word of more than 2,046 bytes.
QUERY_LENGTH = 400
RESULTS = 5


def load_statements(file: str) -> Mapping[str, LiteralString]:
    """The statements of a `.sql` file of this package by name; each starts at a line `-- name: <name>`.

    The text is shipped with the package and never built from input, which makes the cast true.
    """
    text = files(__package__).joinpath(file).read_text("utf-8")
    parts = re.split(r"^-- name: ([a-z_]+)\s*$", text, flags=re.MULTILINE)[1:]
    return {name: cast("LiteralString", body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}


STATEMENTS = load_statements("documents.sql")


class NoDocuments(RuntimeError):
    """No document index is connected in this process, so documents cannot be searched."""


class DocumentIndex:
    """Full-text search over the ingested documents of one database.

    The pool belongs to whoever made it and must be open; a connection is held for one query at a time.
    """

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def search(self, query: str, limit: int = RESULTS) -> list[Passage]:
        """The best passages first: those with every word of the query, or else with any of them."""
        query = query.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")[:QUERY_LENGTH]
        for name in ("search_every_word", "search_any_word"):
            passages = await self._passages(name, query, limit)
            if passages:
                return passages
        return []

    async def _passages(self, name: str, query: str, limit: int) -> list[Passage]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(STATEMENTS[name], {"query": query, "limit": limit})
            return [cast("Passage", row) for row in await cursor.fetchall()]


_connected: DocumentIndex | None = None


def connect(pool: AsyncConnectionPool) -> DocumentIndex:
    """Let this process's assistants search the documents in the pool's database."""
    global _connected
    _connected = DocumentIndex(pool)
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
