"""Owns how much is asked of all processes: what waits, and for how long. What to do about it is the operator's."""

from dataclasses import dataclass

from psycopg.rows import class_row

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements

_SQL = load_statements("threadline.runs", "load.sql")


@dataclass(frozen=True, slots=True)
class Load:
    """The runs, processes and outboxes of a database at one moment; waits are in seconds, None where nothing waits."""

    pending: int
    running: int
    processes: int
    longest_wait: float | None
    median_wait: float | None
    longest_unblocked_wait: float | None
    webhooks_pending: int
    webhooks_dead: int
    cron_fires_pending: int
    cron_fires_dead: int


async def measure_load(pool: Pool) -> Load:
    """Count what waits and runs now."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Load)) as cursor:
        await cursor.execute(_SQL["measure"])
        load = await cursor.fetchone()
        assert load is not None  # an aggregate always has a row
        return load
