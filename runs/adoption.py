"""Owns taking over threads that exist only as checkpoints, because a graph wrote them without a server."""

from threadline.checkpoints.keys import note_plaintext
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.metadata import encode_metadata
from threadline.runs.model import JsonObject

_SQL = load_statements("threadline.runs", "adoption.sql")


async def adopt_threads(pool: Pool, metadata: JsonObject) -> int:
    """Make threads of all checkpoints that belong to none, labelled with `metadata`, and return how many.

    Their values show once they are read; what a search goes by is filled in by their next run. Raises Invalid.
    """
    async with pool.connection() as connection, connection.transaction():
        await note_plaintext(connection)
        cursor = await connection.execute(_SQL["adopt"], {"metadata": encode_metadata(metadata)})
        row = await cursor.fetchone()
    return int(row[0]) if row else 0
