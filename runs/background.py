"""Owns the tasks that a process runs beside its requests: started together, and never missed in silence."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

logger = logging.getLogger("threadline.engine")

CANCEL_AGAIN = 1.0  # seconds


@asynccontextmanager
async def run_tasks(work: dict[str, Coroutine[Any, Any, None]]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run what is given by name for the length of the block."""
    tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()]
    try:
        yield tasks
    finally:
        await cancel(tasks)


async def cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel the tasks and wait for them.

    Asked again while they go on: under Python 3.11 `asyncio.wait_for`, which psycopg waits with, can swallow a
    cancellation that comes together with its result.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def watch(tasks: Sequence[asyncio.Task[None]], failures: list[BaseException]) -> Iterator[None]:
    """A side task that dies takes the process with it: half a process loses runs without anybody noticing."""

    def stop_loudly(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("engine.task_died", exc_info=error, extra={"task": task.get_name()})
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    for task in tasks:
        task.add_done_callback(stop_loudly)
    try:
        yield
    finally:
        for task in tasks:
            task.remove_done_callback(stop_loudly)
