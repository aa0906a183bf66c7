"""Owns waiting for what another connection does: until it is blocked, until something is true."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

from psycopg import AsyncConnection

PATIENCE = 20.0  # seconds

_BLOCKED = """
    select pid from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and application_name like %(name)s
"""


async def until(true: Callable[[], Awaitable[Any] | Any], what: str, seconds: float = PATIENCE) -> Any:
    """Return the first true answer of `true`; raises TimeoutError, naming `what`, when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = true()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.01)


async def until_blocked(connection: AsyncConnection[Any], name: str, count: int = 1) -> None:
    """Wait until `count` connections whose application name is like `name` wait for a lock."""

    async def blocked() -> bool:
        cursor = await connection.execute(_BLOCKED.encode(), {"name": name})
        return len(await cursor.fetchall()) >= count

    await until(blocked, f"{count} connections like {name} wait for a lock")
