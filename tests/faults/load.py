"""Owns the work of a sitting: so many clients that start one run after the other, until they are told to stop."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from langgraph_sdk import get_client

from threadline.tests.faults.clients import (
    BLOCKING,
    KINDS,
    LONG,
    LONGEST_SILENCE,
    MODES,
    Kind,
    Notes,
    crowd,
    follow_by_sdk,
    follow_plainly,
    make_order,
    wait_by_sdk,
)
from threadline.tests.faults.facts import comparable
from threadline.tests.process.deployments import Clients

WAITERS, SDK = 0.15, 0.5  # of the runs, added up; the others' streams are read plainly


class Load:
    """Clients at work, which share their connections as the requests of one program do."""

    def __init__(self, clients: Clients, notes: Notes, seed: int, kinds: Sequence[Kind], crowds: float) -> None:
        """`crowds` is the share of runs that have others put on their thread."""
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
        if self._chance.random() < self._crowds:
            await crowd(self._clients.http, self._notes, name, order)
        elif lot < WAITERS:
            await wait_by_sdk(self._clients.sdk, self._notes, name, order)
        elif lot < SDK:
            await follow_by_sdk(self._clients.sdk, self._notes, name, order)
        else:
            await follow_plainly(self._clients.http, self._notes, name, order)


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
    return {kind.name: await _run(http, kind) for kind in (*KINDS, *LONG, BLOCKING)}


async def _run(http: httpx.AsyncClient, kind: Kind) -> str:
    answer = await http.post(
        "/runs/wait",
        json={"assistant_id": kind.graph, "input": kind.state, "stream_mode": MODES, "stream_subgraphs": True},
    )
    return comparable(answer.raise_for_status().json())
