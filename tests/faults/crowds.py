"""Owns the clients that make more than one run of a thread: they queue up, supersede, ask and answer."""

import asyncio
import random

import httpx

from threadline.tests.faults.clients import PAUSE, Notes, follow, follow_plainly, start
from threadline.tests.faults.orders import ANSWER, ASKING, LONG, Kind, Order

CROWD = 12  # runs that are put on a busy thread and taken back
SUPERSEDING = ("interrupt", "rollback")


async def crowd(http: httpx.AsyncClient, notes: Notes, name: str, order: Order) -> None:
    """Put runs on one busy thread and take those that wait back again, so that two processes write to its log."""
    following = asyncio.create_task(follow_plainly(http, notes, name, order._replace(is_compared=False)))
    waiting = order._replace(kind=Kind("fork", {"pace": 0.0}), is_compared=False)
    for _ in range(CROWD):
        run_id = await start(http, notes, name, waiting)
        try:
            if run_id is not None:
                await http.post(f"/threads/{order.thread_id}/runs/{run_id}/cancel")
        except httpx.HTTPError as error:
            notes.meet(name, error)
        await asyncio.sleep(PAUSE / 10)
    await following


async def supersede(http: httpx.AsyncClient, notes: Notes, name: str, order: Order, chance: random.Random) -> None:
    """Start a long run, and have another take its place; after a rollback the thread is as if it had never been."""
    strategy = chance.choice(SUPERSEDING)
    first = order._replace(kind=LONG[0], is_compared=False, may_go=strategy == "rollback")
    run_id = await start(http, notes, name, first)
    if run_id is None:
        return
    following = asyncio.create_task(follow(http, notes, f"{name}, the first", first, run_id))
    await asyncio.sleep(chance.uniform(0.0, 1.0))
    more = {"multitask_strategy": strategy}
    rolls_back = strategy == "rollback"
    second = order._replace(is_compared=rolls_back, instead_of=run_id if rolls_back else "", more=more)
    await follow_plainly(http, notes, f"{name}, the second", second)
    await following


async def ask_and_answer(http: httpx.AsyncClient, notes: Notes, name: str, order: Order) -> None:
    """Start a run that asks, and answer in another one."""
    asking = order._replace(kind=ASKING, is_compared=False)
    if await follow_plainly(http, notes, f"{name}, asking", asking):
        await follow_plainly(http, notes, f"{name}, answering", asking._replace(is_compared=True, more=ANSWER))
