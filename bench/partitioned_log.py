"""Owns a measurement behind decision 0024: what the log would cost if it were partitioned by day.

usage: .venv/bin/python bench/partitioned_log.py [DSN]
"""

import asyncio
import sys
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

from psycopg import AsyncConnection

from threadline.bench.postgres import open_postgres
from threadline.checkpoints.statements import load_statements

ROUNDS = 500
_SQL = load_statements("threadline.bench", "partitioned_log.sql")
_MAKE = {"whole": ("create_whole",), "30 partitions": ("create_divided", "create_partitions")}


async def time(connection: AsyncConnection[Any], statement: str, **values: Any) -> float:
    """Return the median of the milliseconds that the statement takes."""
    taken = []
    for number in range(ROUNDS):
        began = perf_counter()
        await connection.execute(_SQL[statement], {**values, "seq": 101 + number})
        taken.append((perf_counter() - began) * 1000)
    return median(taken)


async def measure(dsn: str, made_by: tuple[str, ...]) -> str:
    """Make the table, and return the pages and milliseconds of a read, and the milliseconds of an insert."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        for statement in made_by:
            await connection.execute(_SQL[statement])
        await connection.execute(_SQL["fill"])
        await connection.execute("vacuum analyze")
        cursor = await connection.execute(_SQL["threads"])
        threads = [row[0] for row in await cursor.fetchall()]
        explain = f"explain (analyze, buffers, format json) {_SQL['read']}".encode()
        cursor = await connection.execute(explain, {"threads": threads})
        plan = (await cursor.fetchall())[0][0][0]["Plan"]
        read = await time(connection, "read", threads=threads)
        insert = await time(connection, "insert", threads=threads)
        return f"{plan['Shared Hit Blocks'] + plan['Shared Read Blocks']} | {read:.2f} | {insert:.2f}"


async def main(dsn: str | None) -> None:
    """Fill both with the same rows, measure, and print."""
    folder = Path(mkdtemp(prefix="threadline-bench-"))
    try:
        async with open_postgres(dsn, folder) as postgres:
            print("| the log | pages of a read for 32 streams | ms | ms of an insert for 32 runs |\n|---|---|---|---|")
            for name, made_by in _MAKE.items():
                async with postgres.open_database() as database:
                    print(f"| {name} | {await measure(database, made_by)} |")
    finally:
        rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
