"""Owns a measurement behind decision 0024: what the index of ended runs costs a run that ends.

usage: .venv/bin/python bench/ended_runs.py [DSN]
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from shutil import rmtree
from statistics import quantiles
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

from psycopg import AsyncConnection

from threadline.bench.postgres import Postgres, open_postgres
from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import Database
from threadline.checkpoints.statements import load_statements

ROUNDS = 600
_SQL = load_statements("threadline.bench", "ended_runs.sql")


async def finish(connection: AsyncConnection[Any]) -> float:
    """Return how many milliseconds the end of 32 runs takes."""
    cursor = await connection.execute(_SQL["begin"])
    run_ids = [row[0] for row in await cursor.fetchall()]
    began = perf_counter()
    await connection.execute(_SQL["finish"], {"run_ids": run_ids})
    return (perf_counter() - began) * 1000


async def measure(postgres: Postgres) -> None:
    """Take turns with the index and without it, and print."""
    async with AsyncExitStack() as stack:
        connections: dict[str, AsyncConnection[Any]] = {}
        times: dict[str, list[float]] = {"with": [], "without": []}
        for name in times:
            dsn = await stack.enter_async_context(postgres.open_database())
            await migrate(Database(dsn))
            opened = await AsyncConnection.connect(dsn, autocommit=True)
            connections[name] = await stack.enter_async_context(opened)
        await connections["without"].execute(_SQL["drop_index"])
        for number in range(ROUNDS):
            for name in sorted(connections, reverse=number % 2 == 0):
                times[name].append(await finish(connections[name]))
    print("| the index | least ms for 32 runs | quarter | median |\n|---|---|---|---|")
    for name, taken in times.items():
        quarter, middle, _ = quantiles(taken, n=4)
        print(f"| {name} | {min(taken):.2f} | {quarter:.2f} | {middle:.2f} |")


async def main(dsn: str | None) -> None:
    """Measure on that server, or on our own."""
    folder = Path(mkdtemp(prefix="threadline-bench-"))
    try:
        async with open_postgres(dsn, folder) as postgres:
            await measure(postgres)
    finally:
        rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
