"""Owns real processes for tests: each runs an engine on a database and can be killed, stopped or told to end.

They fork from a server that has imported everything already, so that one costs milliseconds instead of seconds.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess, parent_process
from pathlib import Path
from typing import Any
from uuid import UUID

from threadline.commands.collector import collect_seldom
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.engine import EngineSettings, open_engine
from threadline.tests.laboratory.places import reach

START_SECONDS = 30.0

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["threadline.tests.laboratory.processes", "threadline.tests.laboratory.graphs"])


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process is started with. `clock_offset` in seconds is how far its wall clock is ahead."""

    conninfo: str
    configuration: Path
    settings: EngineSettings
    clock_offset: float = 0.0
    pooled: bool = True


class EngineProcess:
    """An engine in a process of its own, ready when this is made."""

    def __init__(self, orders: Orders) -> None:
        receiver, sender = _forks.Pipe(duplex=False)
        self._process: BaseProcess = _forks.Process(target=_main, args=(orders, sender), daemon=True)
        self._process.start()
        sender.close()
        if not receiver.poll(START_SECONDS):
            raise TimeoutError(f"process {self._process.pid} has no engine after {START_SECONDS} s")
        self.process_id: UUID = receiver.recv()
        receiver.close()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, as the kernel does when memory runs out; returns when it is gone."""
        self.signal(signal.SIGKILL)
        self._process.join(10)

    def stop(self) -> None:
        """Tell it to end in order, and wait."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        self._process.join(20)
        if self._process.is_alive():
            self.kill()
            raise TimeoutError(f"process {self.pid} did not end in order")

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for it to end by itself."""
        self._process.join(seconds)


def _main(orders: Orders, ready: Connection) -> None:
    collect_seldom()
    if orders.clock_offset:
        time.time_ns = _shift(time.time_ns, int(orders.clock_offset * 1e9))
        time.time = _shift(time.time, orders.clock_offset)
    asyncio.run(_serve(orders, ready))


def _shift(clock: Callable[[], Any], offset: float) -> Callable[[], Any]:
    return lambda: clock() + offset


async def _serve(orders: Orders, ready: Connection) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    parent = parent_process()
    assert parent is not None
    loop.add_reader(parent.sentinel, os._exit, 1)  # the tests are gone: nobody will ever stop us
    registry = Registry(load_configuration(orders.configuration))
    async with open_engine(reach(orders.conninfo, pooled=orders.pooled), registry, orders.settings) as engine:
        ready.send(engine.process_id)
        ready.close()
        await told.wait()
