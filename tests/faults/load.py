"""Owns the work of a sitting: so many clients that start one run after the other, until they are told to stop."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from langgraph_sdk import get_client

from threadline.tests.faults.clients import (
    LONGEST_SILENCE,
    Notes,
    follow_by_sdk,
    follow_plainly,
    wait_by_sdk,
)
from threadline.tests.faults.crowds import ask_and_answer, crowd, supersede
from threadline.tests.faults.facts import comparable
from threadline.tests.faults.orders import ANSWER, ASKING, BLOCKING, KINDS, LONG, Kind, Order, make_order
from threadline.tests.process.deployments import Clients

ASKING_ONES, SUPERSEDING_ONES = 0.4, 0.7  # of those that make several runs, added up; the others are crowds
WAITERS, SDK = 0.15, 0.5  # of the runs, added up; the others' streams are read plainly


class Load:
    """Clients at work, which share their connections as the requests of one program do."""

    def __init__(self, clients: Clients, notes: Notes, seed: int, kinds: Sequence[Kind], crowds: float) -> None:
        """`crowds` is the share of clients' turns in which they make several runs of one thread."""
        self._kinds = kinds
        self._crowds = crowds
        self._clients = clients
        self._notes = notes
        self._chance = random.Random(seed)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, clients: int, pause: float) -> None:
        """Let them work, each with a pause of up to so many seconds between two runs."""
        self._tasks = [
            asyncio.create_task(self._work(f"client {number}", pause), name=f"client/{number}")
            for number in range(clients)
        ]

    async def stop(self, patience: float) -> list[str]:
        """Let each come to the end of its run; returns who did not within that time."""
        self._stopping = True
        _, late = await asyncio.wait(self._tasks, timeout=patience)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in self._tasks:
            if task not in late:
                task.result()
        return sorted(task.get_name() for task in late)

    async def _work(self, name: str, pause: float) -> None:
        number = 0
        while not self._stopping:
            number += 1
            await self._run_once(f"{name}, run {number}")
            await asyncio.sleep(self._chance.uniform(0, pause))

    async def _run_once(self, name: str) -> None:
        order, lot = make_order(self._chance, self._kinds), self._chance.random()
        http, sdk = self._clients.http, self._clients.sdk
        if self._chance.random() < self._crowds:
            await self._run_many(http, name, order)
        elif lot < WAITERS:
            await wait_by_sdk(sdk, self._notes, name, order)
        elif lot < SDK:
            await follow_by_sdk(sdk, self._notes, name, order)
        else:
            await follow_plainly(http, self._notes, name, order)

    async def _run_many(self, http: httpx.AsyncClient, name: str, order: Order) -> None:
        lot = self._chance.random()
        if lot < ASKING_ONES:
            await ask_and_answer(http, self._notes, name, order)
        elif lot < SUPERSEDING_ONES:
            await supersede(http, self._notes, name, order, self._chance)
        else:
            await crowd(http, self._notes, name, order)


@asynccontextmanager
async def open_clients(url: str) -> AsyncIterator[Clients]:
    """Have the official client and a plain one for the length of the block."""
    async with (
        get_client(url=url, api_key=None, timeout=LONGEST_SILENCE) as sdk,
        httpx.AsyncClient(base_url=url, timeout=LONGEST_SILENCE) as http,
    ):
        yield Clients(sdk, http)


async def run_calmly(http: httpx.AsyncClient) -> dict[str, str]:
    """Run one of each kind while nothing is disturbed, and return the states in which they end."""
    states = {kind.name: await _run(http, kind) for kind in (*KINDS, *LONG, BLOCKING)}
    thread_id = str(uuid4())
    await _run(http, ASKING, thread_id)
    return {**states, ASKING.name: await _run(http, ASKING, thread_id, **ANSWER)}


async def _run(http: httpx.AsyncClient, kind: Kind, thread_id: str = "", **more: Any) -> str:
    order = Order(kind, "async", thread_id or str(uuid4()), more=more)
    path = f"/threads/{order.thread_id}/runs/wait"
    answer = await http.post(path, json={"assistant_id": kind.graph, **order.body})
    return comparable(answer.raise_for_status().json())
