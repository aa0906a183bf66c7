"""An engine of which a part dies stops its process, and says that it failed."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from threadline.checkpoints.pool import Database
from threadline.runs.engine import EngineFailed
from threadline.tests.runs.life_world import load_graphs, open_world


async def test_a_part_that_dies_ends_the_process_and_not_in_order(database: Database, tmp_path: Path) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    try:
        with pytest.raises(EngineFailed):
            await run_until_broken(database, tmp_path, told)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def run_until_broken(database: Database, tmp_path: Path, told: asyncio.Event) -> None:
    async with open_world(database, load_graphs(tmp_path)) as world:
        # Real harm: the loop that reads for the streams meets a reader that is none.
        subscriptions: dict[Any, Any] = world.engine.tails._subscriptions
        subscriptions[world.engine.process_id] = {object()}
        async with asyncio.timeout(10):
            await told.wait()
