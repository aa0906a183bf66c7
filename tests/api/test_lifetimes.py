"""Threads that live as long as langgraph.json says, however they are made, over the wire."""

from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from langgraph_sdk import get_client
from langgraph_sdk.errors import NotFoundError

from threadline.tests.api.store_world import serve_store, write_store_project
from threadline.tests.laboratory.locks import until

BRIEF = 0.3 / 60  # minutes


async def test_threads_live_as_long_as_the_file_says(dsn: str, tmp_path: Path) -> None:
    ttl: dict[str, Any] = {"default_ttl": BRIEF, "sweep_interval_minutes": 0.1 / 60, "strategy": "delete"}
    with serve_store(dsn, write_store_project(tmp_path, checkpointer={"ttl": ttl})) as url:
        async with get_client(url=url, api_key=None) as client:
            made = (await client.threads.create())["thread_id"]
            ever = (await client.threads.create(ttl={"ttl": -1}))["thread_id"]
            by_run = str(uuid4())
            run = await client.runs.create(by_run, "remembering", input={"note": "sea"}, if_not_exists="create")
            await client.runs.join(by_run, run["run_id"])

            async def is_gone(thread_id: str) -> bool:
                try:
                    await client.threads.get(thread_id)
                except NotFoundError:
                    return True
                return False

            for thread_id in (made, by_run):
                await until(partial(is_gone, thread_id), "the thread is gone")
            assert (await client.threads.get(ever))["thread_id"] == ever


async def test_a_default_of_keeping_the_latest_state_prunes(dsn: str, tmp_path: Path) -> None:
    ttl: dict[str, Any] = {"default_ttl": BRIEF, "sweep_interval_minutes": 0.1 / 60, "strategy": "keep_latest"}
    with serve_store(dsn, write_store_project(tmp_path, checkpointer={"ttl": ttl})) as url:
        async with get_client(url=url, api_key=None) as client:
            thread_id = (await client.threads.create())["thread_id"]
            await client.runs.wait(thread_id, "remembering", input={"note": "sea"})
            state = await client.threads.get_state(thread_id)

            async def is_pruned() -> bool:
                return len(await client.threads.get_history(thread_id, limit=10)) == 1

            await until(is_pruned, "the thread is pruned")
            assert (await client.threads.get_state(thread_id))["values"] == state["values"]
