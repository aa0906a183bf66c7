"""Owns what a signal does to a command: the first stops its work in order, a second Ctrl-C ends it at once.

Stopping in order is cancelling: each part has a block that undoes what it started.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from types import FrameType
from typing import Any

from threadline.commands.exits import ExitCode

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_until_stopped(
    work: Coroutine[Any, Any, None], *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> None:
    """Run `work` to its end, or until SIGTERM, SIGINT or SIGHUP; returns when it has undone what it started."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_run(work))


async def run_together(works: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Run each as a task of that name until all have ended; a failure cancels the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            for name, work in works.items():
                group.create_task(work, name=name)
    except* Exception as failures:
        failure = failures.exceptions[0]
    else:
        return
    raise failure


async def _run(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work, name="command")
    stop = _Stop(asyncio.get_running_loop(), task)
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    await asyncio.wait({task})
    if task.cancelled() and stop.is_asked:
        return
    task.result()


class _Stop:
    """The handler of the signals."""

    def __init__(self, loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
        self._loop = loop
        self._task = task
        self.is_asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked and number == signal.SIGINT:
            # What we started notices that we are gone, as after kill -9.
            os._exit(ExitCode.ABANDONED)
        if not self.is_asked and not self._loop.is_closed():
            self.is_asked = True
            self._loop.call_soon_threadsafe(self._task.cancel)
