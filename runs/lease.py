"""Owns the process's side of its lease: starting the keeper, watching it, giving the lease up."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID

import orjson
from psycopg import Error
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Database, Pool
from threadline.checkpoints.statements import load_statements
from threadline.runs.hosts import identify
from threadline.runs.lease_keeper import RELEASED, Orders
from threadline.runs.lease_renewal import registration

logger = logging.getLogger("threadline.lease")

_SQL = load_statements("threadline.runs", "lease.sql")


@asynccontextmanager
async def hold_lease(
    database: Database, pool: Pool, process_id: UUID, name: str, lease: timedelta, renew: timedelta
) -> AsyncIterator[asyncio.Task[None]]:
    """Hold the process's lease for the length of the block; yields the task that watches its keeper.

    The lease is taken before the block is entered. Leaving the block deregisters the process.
    """
    conninfo = database.direct_conninfo or database.conninfo
    me = identify()
    who = (str(process_id), name, me.host, me.pid, me.birth)
    prepare, schema = database.has_sessions, database.schema_name
    durations = [duration.total_seconds() for duration in (lease, renew, min(lease / 2, 3 * renew))]
    orders = Orders(conninfo, schema, prepare, *who, *durations)
    async with pool.connection() as connection:
        await connection.execute(_SQL["renew"], registration(orders, orders.first))
    task = asyncio.create_task(_keep(orders), name="lease")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with suppress(Error, PoolTimeout, OSError):  # without a database the lease passes by itself
            async with pool.connection(timeout=2.0) as connection:
                await connection.execute(_SQL["deregister"], {"process_id": process_id})


async def _keep(orders: Orders) -> None:
    """Run the keeper, and another one should it die."""
    while True:
        starting = asyncio.create_task(_start_keeper(), name="lease/keeper")
        try:
            keeper = await asyncio.shield(starting)
            assert keeper.stdin is not None
            with suppress(ConnectionError):  # it died, which `wait` tells
                keeper.stdin.write(orjson.dumps(orders._asdict()) + b"\n")
                await keeper.stdin.drain()
            await _log_failures(keeper)
            code = await keeper.wait()
            logger.error("lease.keeper_died", extra={"code": code})
            orders = orders._replace(first=0.0)
        finally:
            # Not cancelled half-way: asyncio would wait for ever for a process whose pipes are not set up yet.
            await _end_keeper(await starting)
        await asyncio.sleep(0.1)


async def _log_failures(keeper: asyncio.subprocess.Process) -> None:
    """Log what it says, until it ends."""
    assert keeper.stdout is not None
    async for line in keeper.stdout:
        logger.warning("lease.not_renewed", extra={"error": line.decode(errors="replace").rstrip()})


async def _start_keeper() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        # In a session of its own, where no Ctrl-C reaches it; -P: nothing in the working directory is imported.
        *(sys.executable, "-P", "-m", "threadline.runs.lease_keeper"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def _end_keeper(keeper: asyncio.subprocess.Process) -> None:
    """Tell it that the lease is given up here; kill it if it does not end for that."""
    if keeper.returncode is None:
        assert keeper.stdin is not None
        keeper.stdin.write(RELEASED)
        keeper.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                await keeper.wait()
    if keeper.returncode is None:
        keeper.kill()
        await keeper.wait()
