"""Many streams at once: a stopping server lets go of all of them, and those who never read cost it nothing."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Deployment
from threadline.tests.process.listeners import replay
from threadline.tests.process.memory import IS_TOLD, memory_of
from threadline.tests.process.programs import Program, free_port
from threadline.tests.process.streams import Address, RawStream

RUNS, STREAMS_OF_EACH = 20, 50
GRACE = 5.0
MARGIN = 15.0  # what ending the process takes besides, on a busy machine


@pytest.fixture
async def second(split: Deployment) -> AsyncIterator[tuple[Program, Address]]:
    """Another API on the same database, which the test may stop."""
    port = free_port()
    where = ["--port", str(port), "--config", "other/langgraph.json", "--data-dir", str(split.data_dir)]
    program = split.launch(["api", *where], {"BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": str(GRACE)})
    await program.ready("api.ready")
    yield program, Address("127.0.0.1", port)
    await program.stop()


async def start_held_run(http: httpx.AsyncClient, name: str) -> tuple[str, str]:
    body = {"assistant_id": "line", "input": {"name": name, "gates": ["b"]}, "if_not_exists": "create"}
    run: dict[str, Any] = (await http.post(f"/threads/{uuid4()}/runs", json=body)).raise_for_status().json()
    return run["thread_id"], run["run_id"]


@pytest.mark.slow  # a thousand streams on two processes
async def test_a_thousand_streams_are_let_go_within_the_grace_period_and_resume_elsewhere(
    split: Deployment, second: tuple[Program, Address]
) -> None:
    stopped, address = second
    elsewhere = Address("127.0.0.1", split.port)
    async with split.clients() as (_, http):
        names = [f"crowd {number}" for number in range(RUNS)]
        runs = [await start_held_run(http, name) for name in names]
        for name in names:
            await until(partial(split.project.starts, name), f"{name} starts")
        streams = [(run, RawStream(*run)) for run in runs for _ in range(STREAMS_OF_EACH)]
        for _, stream in streams:
            await stream.connect(address)
        async with asyncio.timeout(60):
            await asyncio.gather(*(stream.read_on(until_event=True) for _, stream in streams))

        told = time.monotonic()
        stopped.signal(signal.SIGTERM)
        async with asyncio.timeout(GRACE + MARGIN):
            await asyncio.gather(*(stream.read_on() for _, stream in streams))
        assert await stopped.ended() == 0
        assert time.monotonic() - told < GRACE + MARGIN
        assert not any(stream.has_ended for _, stream in streams)  # cut, so that nobody takes it for the run's end

        for _, stream in streams:
            await stream.connect(elsewhere)
        for name in names:
            split.project.open_gate(name, "b")
        async with asyncio.timeout(60):
            await asyncio.gather(*(stream.read_on() for _, stream in streams))
        logged = {run: [int(event.id) for event in await replay(http, *run)] for run in runs}
        for run, stream in streams:
            assert stream.has_ended
            assert stream.ids == logged[run]
            stream.close()


FILL = """
    with last as (
        delete from run_events e using runs r
        where r.run_id = %s and e.thread_id = r.thread_id and e.last_seq = r.end_seq
        returning e.*
    ), filler as (
        insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
        select l.thread_id, l.first_seq + n, l.first_seq + n, l.run_id,
            json_build_array(json_build_array('custom', %s::int, 0)),
            convert_to('"' || repeat('x', %s::int - 2) || '"', 'UTF8')
        from last l, generate_series(0, %s::int - 1) n
    ), kept as (
        insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
        select thread_id, first_seq + %s::int, last_seq + %s::int, run_id, contents, payload from last
        returning thread_id, last_seq
    ), head as (
        update thread_heads h set last_seq = k.last_seq from kept k where h.thread_id = k.thread_id
    )
    update runs set end_seq = end_seq + %s::int where run_id = %s returning run_id
"""
UNREAD = 30
EVENTS, EVENT_BYTES = 300, 200_000
ALLOWANCE = 6 * 1024 * 1024  # of memory for each: a page of the log, a frame of it, and what is on its way


@pytest.mark.slow  # 60 MB to each of many readers
@pytest.mark.skipif(not IS_TOLD, reason="memory is read from /proc")
async def test_readers_that_never_read_cost_no_memory_and_hold_up_nobody(
    split: Deployment, second: tuple[Program, Address]
) -> None:
    server, address = second
    async with split.clients() as (_, http):
        thread_id, run_id = await start_held_run(http, "unread")
        await until(lambda: split.project.starts("unread")["b"], "b starts")
        split.project.open_gate("unread", "b")
        await http.get(f"/threads/{thread_id}/runs/{run_id}/join")
        await fill_log(split, thread_id, run_id)
        reader = RawStream(thread_id, run_id)
        await reader.connect(address)
        await reader.read_on()  # what serving one costs is in memory now
        reader.close()
        before = memory_of(server.pid)
        unread = [RawStream(thread_id, run_id) for _ in range(UNREAD)]
        for stream in unread:
            await stream.connect(address)
        for _ in range(3):
            reader = RawStream(thread_id, run_id)
            await reader.connect(address)
            await reader.read_on()
            assert reader.has_ended
            assert len(reader.ids) > EVENTS
            reader.close()
        assert memory_of(server.pid) - before < UNREAD * ALLOWANCE
        for stream in unread:
            stream.close()


async def fill_log(deployment: Deployment, thread_id: str, run_id: str) -> None:
    """Put many large events before the last one of a run that has ended."""
    await deployment.rows(FILL, *(run_id, EVENT_BYTES, EVENT_BYTES, EVENTS, EVENTS, EVENTS, EVENTS, run_id))
