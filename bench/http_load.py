"""Owns the clients of a whole server: what they ask for, and how they see that a run has really succeeded.

usage: python -m threadline.bench.http_load HOST PORT
"""

import asyncio
import sys
from collections.abc import Callable
from functools import cache, partial
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

import orjson
import uvloop

from threadline.bench.children import take_orders
from threadline.bench.http_client import Answer, Connection, connect, hang_up, make_request
from threadline.bench.slices import Done, Measure, Order, Run, Sample, measure
from threadline.bench.workload import STEPS_INPUT, STEPS_RESULT, TOKENS, TOKENS_RESULT, WrongResult, check

# Threads are kept, as the in-process contenders keep theirs: deleting them would fall into some slices only.
_STEPS = {"assistant_id": "steps", "input": STEPS_INPUT, "on_completion": "keep"}
WAIT = make_request("POST", "/runs/wait", _STEPS)
STREAM = make_request("POST", "/runs/stream", _STEPS)
BURST = make_request("POST", "/runs/stream", _STEPS | {"assistant_id": "tokens", "stream_mode": ["custom", "values"]})

_read = cache(orjson.loads)  # every right answer is the same bytes


def _check_status(answer: Answer) -> None:
    if answer.status != 200:
        raise WrongResult(f"the server answered {answer.status}: {answer.body[:500]!r}")


def _last_data(body: bytes) -> Any:
    """Return the data of a stream's last event: the state as the run left it, if it succeeded."""
    return orjson.loads(body[body.rindex(b"\r\ndata: ") + 8 :].partition(b"\r\n")[0])


async def wait_for_run(connection: Connection) -> Done:
    """Run the steps and wait for what they come to."""
    answer = await connection.ask(WAIT)
    _check_status(answer)
    check(_read(answer.body), STEPS_RESULT)
    return Done()


async def stream_run(connection: Connection) -> Done:
    """Run the steps and note when the first event came, and when the graph's first one did."""
    start = perf_counter()
    answer = await connection.ask(STREAM)
    _check_status(answer)
    check(_last_data(answer.body), STEPS_RESULT)
    return Done(
        first_event=answer.arrival_of(b"event: metadata") - start,
        first_values=answer.arrival_of(b"event: values") - start,
    )


async def stream_burst(connection: Connection) -> Done:
    """Run the node that emits a burst, and count what arrived of it."""
    answer = await connection.ask(BURST)
    _check_status(answer)
    body = answer.body
    check(_last_data(body), TOKENS_RESULT)
    events = body.count(b"event: custom\r\n")
    if events != TOKENS:
        raise WrongResult(f"{events} of {TOKENS} events of a burst arrived")
    return Done(events=events)


RUNS: dict[Measure, Callable[[Connection], Any]] = {
    Measure.RUNS: wait_for_run,
    Measure.FIRST_EVENT: stream_run,
    Measure.BURST: stream_burst,
}


async def hold_streams(connections: list[Connection], seconds: float) -> Sample:
    """Join a run that does nothing with all connections, hold their streams open, then cancel the run."""
    *streams, control = connections
    thread = f"/threads/{uuid4()}"
    body = {"assistant_id": "pause", "input": STEPS_INPUT, "if_not_exists": "create"}
    created = await control.ask(make_request("POST", f"{thread}/runs", body))
    _check_status(created)
    run = f"{thread}/runs/{orjson.loads(created.body)['run_id']}"
    start, cpu = perf_counter(), process_time()
    for stream in streams:
        stream.send(make_request("GET", f"{run}/stream"))
    statuses = [await stream.headed() for stream in streams]
    if set(statuses) != {200}:
        raise WrongResult(f"joining a run's stream was answered with {sorted(set(statuses))}")
    await asyncio.sleep(seconds)
    sample = Sample(0, len(streams), perf_counter() - start, process_time() - cpu)
    _check_status(await control.ask(make_request("POST", f"{run}/cancel?wait=true")))
    for stream in streams:
        await stream.answered()
    return sample


async def measure_slice(host: str, port: int, order: Order) -> Sample:
    """Open the clients' connections, measure, and hang up."""
    control = order.measure is Measure.IDLE
    connections = list(await connect(host, port, order.clients + control))
    try:
        if order.measure is Measure.IDLE:
            return await hold_streams(connections, order.seconds)
        clients: list[Run] = [partial(RUNS[order.measure], connection) for connection in connections]
        return await measure(clients, order.seconds)
    finally:
        hang_up(connections)


async def main(host: str, port: str) -> None:
    """Measure the server at this address."""
    await take_orders(partial(measure_slice, host, int(port)))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
