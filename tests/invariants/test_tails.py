"""Invariants 7 and 10: a reader never skips, hints only spare it a poll, and where it is cut does not matter."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from statistics import median
from typing import Any
from uuid import UUID

import orjson
import pytest

from threadline.runs.engine import Engine, open_engine
from threadline.runs.errors import CursorTrimmed, ThreadGone, ThreadNotFound
from threadline.runs.model import RUN_ENDED, STATE_UPDATED, LogEvent, Run
from threadline.runs.subscription import LAG_BYTES
from threadline.tests.laboratory.laboratory import SETTINGS, Laboratory, open_gate
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.writing import make_event, open_writer, seed_run

Seen = list[tuple[int, str, bytes]]


def given(lab: Laboratory, *gates: str, **values: Any) -> dict[str, Any]:
    return {"input": {"folder": str(lab.make_folder()), "gates": list(gates), "log": [], **values}}


def plain(events: list[LogEvent]) -> Seen:
    return [(event.seq, event.name, event.data) for event in events]


async def read_on(
    engine: Engine, thread_id: UUID, after: int, enough: Callable[[Seen], bool], patience: float = 15.0
) -> Seen:
    """Follow from behind `after` until enough was seen; a reader that is let wait too long fails the test."""
    seen: Seen = []
    async with asyncio.timeout(patience), engine.tails.follow(thread_id, after) as subscription:
        while not enough(seen):
            for row in await subscription.next_rows(1.0):
                seen += plain(list(row.events(after)))
    return seen


def ends(count: int) -> Callable[[Seen], bool]:
    return lambda seen: sum(name == RUN_ENDED for _, name, _ in seen) >= count


def reaches(seq: int) -> Callable[[Seen], bool]:
    return lambda seen: bool(seen) and seen[-1][0] >= seq


async def test_a_reader_gets_every_event_of_runs_that_alternate_between_two_processes(lab: Laboratory) -> None:
    """Its own process's come from memory, the other's from the database: at each seam nothing is lost or doubled."""
    near, far = await lab.open(), await lab.open()
    first = await lab.run(near, "line", **given(lab))
    thread_id = first.thread_id
    readings = [(0, asyncio.create_task(read_on(engine, thread_id, 0, is_over))) for engine in (near, far)]
    for number in range(8):
        engine = (far, near)[number % 2]
        run = await engine.queue.create(lab.request("line", thread_id, **given(lab)))
        here = await near.tails.last_seq(thread_id) - 2
        for reader in (near, far):
            readings.append((here, asyncio.create_task(read_on(reader, thread_id, here, is_over))))
        await engine.tails.result(run)
    await far.states.update(thread_id, {"log": ["over"]}, as_node="c")
    stored = plain(await lab.log(thread_id))
    assert await lab.value("select count(distinct process_id) from runs") == 2
    for after, reading in readings:
        assert await reading == stored[after:]


def is_over(seen: Seen) -> bool:
    return bool(seen) and seen[-1][1] == STATE_UPDATED


async def test_a_cursor_at_any_event_gets_exactly_what_follows(lab: Laboratory) -> None:
    """Also in the middle of a row, from a process that has it in memory and from one that has not."""
    near, far = await lab.open(), await lab.open(executes=False)
    run = await lab.run(near, "bursting", **given(lab, value=60))
    await lab.run(near, "nested", run.thread_id, **given(lab), subgraphs=True)
    stored = plain(await lab.log(run.thread_id))
    assert any(row.last_seq > row.first_seq for row in await lab.log_rows(run.thread_id))
    for engine in (near, far):
        for after in range(len(stored)):
            assert await read_on(engine, run.thread_id, after, reaches(len(stored))) == stored[after:]


async def test_clients_cut_at_every_event_boundary_get_together_what_an_uncut_one_gets(lab: Laboratory) -> None:
    """Of live runs: every event is taken from a stream of its own, opened behind the one before, on either process."""
    near, far = await lab.open(), await lab.open(executes=False)
    requests = [
        lab.request("bursting", **given(lab, value=40)),
        lab.request("nested", **given(lab), subgraphs=True),
        lab.request("talking", **given(lab), stream_mode=["values", "messages-tuple", "custom"]),
    ]
    runs = [await near.queue.create(request) for request in requests]

    async def follow_in_pieces(run: Run, engines: list[Engine]) -> Seen:
        seen: Seen = []
        while not ends(1)(seen):
            after = seen[-1][0] if seen else 0
            engine = engines[len(seen) % len(engines)]
            seen += (await read_on(engine, run.thread_id, after, lambda some: bool(some)))[:1]
        return seen

    cut = [
        asyncio.create_task(follow_in_pieces(run, list(engines))) for run in runs for engines in ((near,), (far, near))
    ]
    uncut = [asyncio.create_task(read_on(near, run.thread_id, 0, ends(1))) for run in runs for _ in range(2)]
    for pieces, whole, run in zip(cut, uncut, [run for run in runs for _ in range(2)], strict=True):
        assert await pieces == await whole == plain(await lab.log(run.thread_id))


async def test_without_hints_a_poll_delivers(lab: Laboratory) -> None:
    """Neither process can LISTEN, as behind a pooler: runs are claimed, cancelled and followed by polling alone."""
    door, worker = await lab.open(executes=False, pooler=True), await lab.open(pooler=True)
    folder = lab.make_folder()
    how: dict[str, Any] = {"input": {"folder": str(folder), "gates": ["b"], "log": []}}
    run = await door.queue.create(lab.request("line", **how))
    reading = asyncio.create_task(read_on(door, run.thread_id, 0, ends(1)))
    await lab.until_traced(folder, "b started")
    open_gate(folder, "b")
    seen = await reading
    assert seen == plain(await lab.log(run.thread_id))
    assert await lab.value("select process_id from runs") == worker.process_id
    listening = "select count(*) from pg_stat_activity where application_name = 'threadline/listen' and datname = %s"
    assert await lab.value(listening, lab.database_name) == 0


@pytest.mark.slow  # it measures
async def test_what_polling_costs_where_nobody_can_listen(
    lab: Laboratory, record_property: Callable[[str, object], None]
) -> None:
    told = []
    for pooler in (False, True):
        async with AsyncExitStack() as stack:
            opened = [replace(SETTINGS, executes=False), SETTINGS]
            way = replace(lab.database(), pooler=pooler, direct_conninfo=None)
            door, _ = [await stack.enter_async_context(open_engine(way, lab.registry, each)) for each in opened]
            seconds = []
            for _ in range(40):
                started = time.perf_counter()
                await lab.run(door, "line", **given(lab))
                seconds.append(time.perf_counter() - started)
            told.append(f"{median(seconds[10:]) * 1000:.0f} ms {'polling each 100 ms' if pooler else 'with LISTEN'}")
    record_property("summary", f"from a POST to the result of a short run of another process: {', '.join(told)}")


async def test_a_lost_hint_costs_a_poll_even_where_other_threads_never_rest(lab: Laboratory) -> None:
    reader = await lab.open(executes=False)
    quiet, busy = await seed_run(lab), await seed_run(lab)

    async def hint_all_the_time() -> None:
        while True:
            reader.tails.hint([busy.thread_id])
            await asyncio.sleep(0.01)

    async with open_writer(lab.database()) as bench:
        buffer = bench.open(quiet)
        hinting = asyncio.create_task(hint_all_the_time())
        noise = asyncio.create_task(read_on(reader, busy.thread_id, 0, ends(1), 60))
        try:
            reading = asyncio.create_task(read_on(reader, quiet.thread_id, 0, reaches(1), 5.0))
            await asyncio.sleep(0)
            await buffer.committed(buffer.add(make_event("unhinted")))
            assert [data for *_, data in await reading] == [b'"unhinted"']
        finally:
            for task in (hinting, noise):
                task.cancel()
            await asyncio.gather(hinting, noise, return_exceptions=True)


async def test_a_hint_is_told_after_the_commit_and_names_its_thread(lab: Laboratory) -> None:
    worker = await lab.open()
    await lab.open(executes=False)  # somebody to tell
    listener = await lab.connect("test/listen")
    await listener.execute(f"listen {lab.database().schema.channel}".encode())
    runs: set[str] = set()
    heard: set[str] = set()
    async with asyncio.timeout(15):
        while not runs & heard:  # until the worker has seen that there is somebody to tell
            run = await lab.run(worker, "line", **given(lab))
            runs.add(str(run.thread_id))
            async for notice in listener.notifies(timeout=0.5, stop_after=1):
                heard |= set(orjson.loads(notice.payload).get("t", []))
    for thread_id in runs & heard:
        assert await lab.value("select count(*) from run_events where thread_id = %s", thread_id) > 0


async def test_whoever_listens_again_looks_at_everything_once(lab: Laboratory) -> None:
    """With a poll that never comes: what was committed while nobody listened is found on the way back."""
    reader = await lab.open(executes=False, poll=lab.never)
    fence = await seed_run(lab)
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        reading = asyncio.create_task(read_on(reader, fence.thread_id, 0, reaches(1)))
        await asyncio.sleep(0)
        await buffer.committed(buffer.add(make_event("unhinted")))
        killed = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and application_name = %s"
        assert await lab.rows(killed, lab.database_name, "threadline/listen")
        assert [data for *_, data in await reading] == [b'"unhinted"']


async def test_a_reader_that_lags_drops_its_buffer_and_pages_from_the_database(lab: Laboratory) -> None:
    engine = await lab.open(executes=False)
    fence = await seed_run(lab)
    text = "x" * 100_000
    async with engine.tails.follow(fence.thread_id, 0) as subscription:
        async with open_writer(lab.database()) as bench:
            buffer = bench.open(fence)
            for number in range(40):
                await buffer.committed(buffer.add(make_event(f"{number} {text}")))
                engine.tails.publish(await lab.log_rows(fence.thread_id))
        held = sum(len(row.payload) for row in subscription._rows)
        assert held <= LAG_BYTES
        seen: Seen = []
        async with asyncio.timeout(15):
            while len(seen) < 40:
                for row in await subscription.next_rows(1.0):
                    seen += plain(list(row.events()))
                held = sum(len(row.payload) for row in subscription._rows)
                assert held <= LAG_BYTES
    assert seen == plain(await lab.log(fence.thread_id))


async def test_a_cursor_behind_the_horizon_is_told_where_that_is(lab: Laboratory) -> None:
    engine, other = await lab.open(), await lab.open(executes=False)
    run = await lab.run(engine, "line", **given(lab))
    await lab.rows("update thread_heads set trimmed_seq = 5")
    await lab.rows("delete from run_events where last_seq <= 5")
    with pytest.raises(CursorTrimmed, match="5"):
        async with other.tails.follow(run.thread_id, 2):
            pass
    async with other.tails.follow(run.thread_id, 5) as subscription:
        assert (await subscription.next_rows(5))[0].last_seq > 5


async def test_a_reader_that_the_horizon_passes_is_told_instead_of_reading_for_ever(lab: Laboratory) -> None:
    engine = await lab.open()
    run = await lab.run(engine, "line", **given(lab))
    last_seq = await lab.value("select last_seq from thread_heads")
    async with (await lab.open(executes=False)).tails.follow(run.thread_id, 0) as subscription:
        held = await subscription.next_rows(10)
        await lab.rows("update thread_heads set trimmed_seq = last_seq")
        await lab.rows("delete from run_events")
        subscription.cursor = held[0].last_seq  # as if there had been no room for more
        subscription.fall_behind()
        with pytest.raises(CursorTrimmed, match=f"Resume after {last_seq}"):
            await subscription.next_rows(10)
    # Who waits for the run's end falls back on what its thread remembers.
    assert await engine.tails.result(run) is None


async def test_a_cursor_beyond_the_log_replays_it_from_the_start(lab: Laboratory) -> None:
    engine, other = await lab.open(), await lab.open(executes=False)
    run = await lab.run(engine, "line", **given(lab))
    for reader in (engine, other):
        async with asyncio.timeout(10), reader.tails.follow(run.thread_id, 1000) as subscription:
            seen: Seen = []
            while not ends(1)(seen):
                for row in await subscription.next_rows(1.0):
                    seen += plain(list(row.events()))
        assert seen == plain(await lab.log(run.thread_id))


async def test_a_thread_that_is_gone_ends_its_streams_everywhere(lab: Laboratory) -> None:
    engine, other = await lab.open(), await lab.open(executes=False)
    run = await lab.run(engine, "line", **given(lab))

    async def follow_to_the_end(reader: Engine, has_begun: asyncio.Event) -> None:
        async with reader.tails.follow(run.thread_id, 0) as subscription:
            while True:
                await subscription.next_rows(10)
                has_begun.set()

    following = []
    for reader in (engine, other):
        following.append(asyncio.create_task(follow_to_the_end(reader, has_begun := asyncio.Event())))
        await asyncio.wait_for(has_begun.wait(), 10)
    await engine.threads.delete(run.thread_id)
    for task in following:
        with pytest.raises(ThreadGone):
            await asyncio.wait_for(task, 10)
    for reader in (engine, other):
        with pytest.raises(ThreadNotFound):
            async with reader.tails.follow(run.thread_id, 0):
                pass


async def test_a_thread_made_again_shows_nothing_of_the_one_before(lab: Laboratory) -> None:
    engine, other = await lab.open(), await lab.open(executes=False)
    run = await lab.run(engine, "line", **given(lab))
    with suppress(TimeoutError):
        await read_on(other, run.thread_id, 0, ends(2), 0.3)
    await engine.threads.delete(run.thread_id)
    await engine.threads.create(run.thread_id)
    for reader in (engine, other):
        async with reader.tails.follow(run.thread_id, 0) as subscription:
            assert await subscription.next_rows(0.2) == []
    again = await lab.run(engine, "line", run.thread_id, **given(lab))
    for reader in (engine, other):
        seen = await read_on(reader, run.thread_id, 0, ends(1))
        assert seen == plain(await lab.log(run.thread_id))
        assert str(again.run_id).encode() in seen[0][2]


async def test_readers_survive_a_database_that_cuts_them(lab: Laboratory) -> None:
    """Every connection of both processes is terminated again and again while a run streams."""
    near, far = await lab.open(), await lab.open(executes=False)
    run = await near.queue.create(lab.request("bursting", **given(lab, value=600)))
    reading = [asyncio.create_task(read_on(engine, run.thread_id, 0, ends(1), 40)) for engine in (near, far)]
    killed = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and application_name like %s"

    async def some_are_written() -> bool:
        return bool(await lab.value("select last_seq > 20 from thread_heads where thread_id = %s", run.thread_id))

    await until(some_are_written, "the run streams")
    for _ in range(3):
        await lab.rows(killed, lab.database_name, "threadline/%")
        await asyncio.sleep(0)
    await lab.until_status(run, "success", "error")
    stored = plain(await lab.log(run.thread_id))
    assert await lab.status(run) == "success"
    numbers = [data for _, name, data in stored if name == "custom"]
    assert numbers == [b'{"number":%d}' % number for number in range(600)]
    for each in reading:
        assert await each == stored
