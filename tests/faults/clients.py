"""Owns the clients of a sitting: each starts a run and stays with it to its end, through whatever comes between.

They write down what they were told, and whatever a client should never be told. What is right is left to `checker`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient

from threadline.tests.faults.facts import Accepted, Answer, Event, Received, canonical, comparable
from threadline.tests.faults.orders import Order

PAUSE = 0.2  # seconds before a client comes back
LONGEST_SILENCE = 20.0  # seconds; a heartbeat comes every five


@dataclass
class Notes:
    """What clients have written down so far. `refused` are answers that no client should get."""

    accepted: list[Accepted] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unanswered: int = 0  # requests for a run of which nobody knows whether they were accepted
    cuts: int = 0

    def meet(self, name: str, error: httpx.HTTPError) -> None:
        """Note what a client ran into. Servers in trouble say 503; none says that a good request was wrong."""
        if not isinstance(error, httpx.HTTPStatusError):
            self.cuts += 1
        elif error.response.status_code != 503:
            self.refused.append(f"{name} was answered {error.response.status_code} to {error.request.url}")


async def follow_plainly(http: httpx.AsyncClient, notes: Notes, name: str, order: Order) -> bool:
    """Start a run and read its stream as any client of server-sent events would; returns whether it came to its end."""
    run_id = await start(http, notes, name, order)
    return run_id is not None and await follow(http, notes, name, order, run_id)


async def follow(http: httpx.AsyncClient, notes: Notes, name: str, order: Order, run_id: str) -> bool:
    """Read the stream of a run to its end; False when the run is gone, as it may be."""
    events: list[Event] = []
    path = f"/threads/{order.thread_id}/runs/{run_id}/stream"
    last = "-1"
    ended = False
    try:
        while not ended:
            try:
                async for event in _read_stream(http, path, last):
                    events.append(event)
                    last = str(event.seq)
                ended = True
            except httpx.HTTPError as error:
                if order.may_go and isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 404:
                    return False
                notes.meet(name, error)
                await asyncio.sleep(PAUSE)
    finally:
        if ended or not order.may_go:
            notes.received.append(Received(name, run_id, tuple(events), ended))
    return ended


async def start(http: httpx.AsyncClient, notes: Notes, name: str, order: Order) -> str | None:
    """Start a run; None when it was not accepted, or nobody knows."""
    try:
        answer = await http.post(
            f"/threads/{order.thread_id}/runs", json={"assistant_id": order.kind.graph, **order.body}
        )
        answer.raise_for_status()
    except httpx.HTTPError as error:
        notes.meet(name, error)
        notes.unanswered += isinstance(error, httpx.TransportError)
        return None
    run_id: str = answer.json()["run_id"]
    notes.accepted.append(order.accepted(run_id))
    return run_id


async def _read_stream(http: httpx.AsyncClient, path: str, last: str) -> AsyncIterator[Event]:
    """Yield the events behind `last` up to a proper end; raises httpx's errors for any other one."""
    async with http.stream("GET", path, headers={"last-event-id": last}) as answer:
        answer.raise_for_status()
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                continue
            if line:
                key, _, value = line.partition(": ")
                fields[key] = value
            else:
                if "event" in fields:
                    yield Event(int(fields["id"]), fields["event"], canonical(json.loads(fields["data"])))
                fields = {}


async def follow_by_sdk(sdk: LangGraphClient, notes: Notes, name: str, order: Order) -> None:
    """Start a run and read its stream with the official client, which reconnects; where it gives up, join again."""
    run_ids: list[str] = []
    events: list[Event] = []

    def note(created: Any) -> None:
        run_ids.append(created["run_id"])
        notes.accepted.append(order.accepted(created["run_id"]))

    start: Any = sdk.runs.stream  # an overload for each mode, of which none takes them as a dictionary
    stream: AsyncIterator[Any] = start(order.thread_id, order.kind.graph, on_run_created=note, **order.body)
    ended = False
    try:
        while True:
            try:
                async for part in stream:
                    if part.id is not None and part.event:
                        events.append(Event(int(part.id), part.event, canonical(part.data)))
                ended = True
                break
            except httpx.HTTPError as error:
                notes.meet(name, error)
                if not run_ids:
                    notes.unanswered += isinstance(error, httpx.TransportError)
                    return
            await asyncio.sleep(PAUSE)
            last = str(events[-1].seq) if events else "-1"
            stream = sdk.runs.join_stream(order.thread_id, run_ids[0], last_event_id=last)
    finally:
        if run_ids:
            notes.received.append(Received(name, run_ids[0], tuple(events), ended))


async def wait_by_sdk(sdk: LangGraphClient, notes: Notes, name: str, order: Order) -> None:
    """Start a run in the background and join it until its answer comes."""
    create: Any = sdk.runs.create  # an overload for threads and one for none
    try:
        run = await create(order.thread_id, order.kind.graph, **order.body)
    except httpx.HTTPError as error:
        notes.meet(name, error)
        notes.unanswered += isinstance(error, httpx.TransportError)
        return
    notes.accepted.append(order.accepted(run["run_id"]))
    while True:
        try:
            values = await sdk.runs.join(order.thread_id, run["run_id"])
            break
        except httpx.HTTPError as error:
            notes.meet(name, error)
        await asyncio.sleep(PAUSE)
    notes.answers.append(Answer(name, run["run_id"], comparable(values)))
