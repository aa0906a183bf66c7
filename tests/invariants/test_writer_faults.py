"""Invariant 11: acknowledged means committed, once, whatever happens to the connection or to a neighbour."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from psycopg.errors import CheckViolation

from threadline.checkpoints.buffer import Entry, Fence, FencedOut, RunBuffer
from threadline.checkpoints.writer import MAX_ROWS
from threadline.tests.laboratory.laboratory import Laboratory, hole_in
from threadline.tests.laboratory.locks import until, until_blocked
from threadline.tests.laboratory.proxy import Proxy, open_proxy
from threadline.tests.laboratory.writing import (
    Bench,
    count_rows,
    make_checkpoint,
    make_event,
    make_finish,
    make_write,
    open_writer,
    seed_run,
)

FLUSH = "insert into checkpoints"  # what only the flush says


@pytest.fixture
async def proxy(lab: Laboratory) -> AsyncIterator[Proxy]:
    async with open_proxy(lab.dsn) as opened:
        yield opened


async def commit(buffer: RunBuffer, *names: str) -> None:
    """Write a checkpoint per name, together."""
    await asyncio.gather(*[buffer.committed(buffer.add(make_checkpoint(name))) for name in names])


async def payloads(lab: Laboratory, fence: Fence) -> list[str]:
    return [event.data.decode().strip('"') for event in await lab.log(fence.thread_id)]


async def test_a_flush_whose_answer_is_lost_is_applied_once(lab: Laboratory, proxy: Proxy) -> None:
    fences = [await seed_run(lab) for _ in range(3)]
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffers = [bench.open(fence) for fence in fences]
        await asyncio.gather(*[commit(buffer, "before") for buffer in buffers])
        proxy.lose_answer(FLUSH, times=2)
        await asyncio.gather(*[commit(buffer, "during") for buffer in buffers])
        await asyncio.gather(*[commit(buffer, "after") for buffer in buffers])
    assert proxy.lost == 2
    assert bench.stopped == []
    for fence in fences:
        assert await payloads(lab, fence) == ["before", "during", "after"]
        assert (await count_rows(lab, fence))["checkpoints"] == 3


async def test_a_finish_whose_answer_is_lost_is_an_end_and_not_a_lost_lease(lab: Laboratory, proxy: Proxy) -> None:
    fence = await seed_run(lab)
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        await commit(buffer, "before")
        proxy.lose_answer(FLUSH)
        await buffer.committed(buffer.add(make_finish("end")))
    assert bench.stopped == []
    assert [commit.finished for commit in bench.commits] == [False, True]
    assert await lab.value("select status from runs where run_id = %s", fence.run_id) == "success"


async def test_a_flush_that_never_arrived_is_sent_again(lab: Laboratory, proxy: Proxy) -> None:
    fence = await seed_run(lab)
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        await commit(buffer, "before")
        proxy.hold(FLUSH)
        waiting = asyncio.ensure_future(commit(buffer, "during"))
        await until(lambda: proxy.held, "the flush is on its way")
        proxy.drop(proxy.held.pop())
        proxy.release()
        await waiting
    assert await payloads(lab, fence) == ["before", "during"]


async def test_a_flush_that_arrives_after_its_connection_was_given_up_is_applied_once(
    lab: Laboratory, proxy: Proxy
) -> None:
    """The writer has asked already whether it was committed, and sends it again."""
    fence = await seed_run(lab)
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        await commit(buffer, "before")
        proxy.hold(FLUSH)
        waiting = asyncio.ensure_future(commit(buffer, "during"))
        await until(lambda: len(proxy.held) == 1, "the flush is on its way")
        proxy.cut(proxy.held[0])
        await until(lambda: len(proxy.held) == 2, "the flush is on its way again")
        await proxy.release_first()

        async def arrived() -> bool:
            return (await count_rows(lab, fence))["checkpoints"] == 2

        await until(arrived, "the first flush is committed")
        proxy.release()
        await waiting
        await commit(buffer, "after")
    assert await payloads(lab, fence) == ["before", "during", "after"]
    assert bench.stopped == []


async def test_a_writer_asks_only_when_the_commit_in_doubt_is_decided(lab: Laboratory, proxy: Proxy) -> None:
    """A plain read of the writer's row would be too early: the server still works on the lost statement."""
    fence = await seed_run(lab)
    holder = await lab.connect("test/holder")
    watcher = await lab.connect("test/watcher")
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        await commit(buffer, "before")
        async with holder.transaction():
            await holder.execute("lock table checkpoints in access exclusive mode")
            waiting = asyncio.ensure_future(commit(buffer, "during"))
            await until_blocked(watcher, "threadline/writer/fast")
            proxy.cut_clients()
            await until_blocked(watcher, "threadline/writer/fast", count=2)
        await waiting
    assert await payloads(lab, fence) == ["before", "during"]


async def test_a_writer_whose_row_was_swept_goes_on(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        await commit(buffer, "before")
        await lab.rows("delete from writers")
        await commit(buffer, "after")
    assert await payloads(lab, fence) == ["before", "after"]
    assert bench.stopped == []


async def test_one_poisoned_item_in_a_batch_of_a_hundred_runs_fails_only_its_own(lab: Laboratory) -> None:
    fences = [await seed_run(lab) for _ in range(100)]
    await lab.rows("alter table checkpoint_blobs add constraint no_poison check (blob <> 'poison')")
    async with open_writer(lab.database()) as bench:
        buffers = [bench.open(fence) for fence in fences]
        names = ["poison" if number == 42 else "fine" for number in range(100)]
        results = await asyncio.gather(*map(commit, buffers, names), return_exceptions=True)
        # The run that was refused something is still itself: it says so, and ends.
        await buffers[42].committed(buffers[42].add(make_finish("end")))
    failed = {number: result for number, result in enumerate(results) if result is not None}
    assert list(failed) == [42]
    assert isinstance(failed[42], CheckViolation)
    assert bench.stopped == []
    assert await payloads(lab, fences[42]) == ["end"]
    for number, fence in enumerate(fences):
        if number != 42:
            assert await payloads(lab, fence) == ["fine"]


async def test_of_one_run_only_the_refused_entry_fails(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    await lab.rows("alter table checkpoint_blobs add constraint no_poison check (blob <> 'poison')")
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        names = ["one", "poison", "three"]
        entries = [buffer.add(make_checkpoint(name)) for name in names]
        results = await asyncio.gather(*map(buffer.committed, entries), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), CheckViolation, type(None)]
    assert await payloads(lab, fence) == ["one", "three"]


@pytest.mark.parametrize("text", ["half a pair \ud800", "NUL \0"])
async def test_text_that_the_database_cannot_hold_fails_only_its_own_run(lab: Laboratory, text: str) -> None:
    """Channel names come from people's graphs."""
    fences = [await seed_run(lab) for _ in range(3)]
    async with open_writer(lab.database()) as bench:
        buffers = [bench.open(fence) for fence in fences]
        entries = [make_write("fine") for _ in fences]
        entries[1].writes[0] = entries[1].writes[0]._replace(channel=text)
        waiting = [buffer.committed(buffer.add(entry)) for buffer, entry in zip(buffers, entries, strict=True)]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [result is None for result in results] == [True, False, True]


async def test_entries_of_a_run_keep_their_order_when_one_is_refused_and_the_head_is_held(
    lab: Laboratory, proxy: Proxy
) -> None:
    fence = await seed_run(lab)
    holder = await lab.connect("test/holder")
    await lab.rows("alter table checkpoint_blobs add constraint no_poison check (blob <> 'poison')")
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        await commit(buffer, "before")
        proxy.hold(FLUSH)
        names = ["one", "poison", "three", "four", "five"]
        entries = [buffer.add(make_checkpoint(name)) for name in names]
        for _ in ("all of them, refused", "one", "poison"):
            await proxy.release_first()
        await until(lambda: proxy.held, "three is on its way")
        async with holder.transaction():
            await holder.execute("select from thread_heads where thread_id = %s for update", [fence.thread_id])
            await proxy.release_first()
            await until(lambda: proxy.held, "three was put off, and something else is on its way")
        proxy.release()
        results = await asyncio.gather(*map(buffer.committed, entries), return_exceptions=True)
    assert [result is None for result in results] == [True, False, True, True, True]
    assert await payloads(lab, fence) == ["before", "one", "three", "four", "five"]


async def test_whoever_asks_late_whether_an_entry_is_committed_gets_the_answer(lab: Laboratory) -> None:
    """LangGraph awaits a write long after it gave it away where `max_concurrency` holds its tasks back."""
    fence = await seed_run(lab)
    await lab.rows("alter table checkpoint_blobs add constraint no_poison check (blob <> 'poison')")
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        early, poison = buffer.add(make_checkpoint("early")), buffer.add(make_checkpoint("poison"))
        await commit(buffer, "later")
        async with asyncio.timeout(20):
            await buffer.committed(early)
            with pytest.raises(CheckViolation):
                await buffer.committed(poison)


async def test_a_thread_whose_head_is_held_for_long_holds_up_nobody_else(lab: Laboratory) -> None:
    fences = [await seed_run(lab) for _ in range(10)]
    holder = await lab.connect("test/holder")
    async with open_writer(lab.database()) as bench:
        buffers = [bench.open(fence) for fence in fences]
        async with holder.transaction():
            await holder.execute("select from thread_heads where thread_id = %s for update", [fences[0].thread_id])
            held = asyncio.ensure_future(commit(buffers[0], "held"))
            await until_blocked(await lab.connect(), "threadline/writer/bulk")
            async with asyncio.timeout(20):
                await asyncio.gather(*[commit(buffer, "fine") for buffer in buffers[1:]])
            assert not held.done()
        await held
        await commit(buffers[0], "after")
    assert await payloads(lab, fences[0]) == ["held", "after"]


async def test_a_large_value_travels_alone_and_in_its_place(lab: Laboratory) -> None:
    fence, other = await seed_run(lab), await seed_run(lab)
    large = "x" * 3_000_000
    async with open_writer(lab.database()) as bench:
        buffer, small = bench.open(fence), bench.open(other)
        names = ["before", large, "after"]
        entries = [buffer.add(make_checkpoint(name)) for name in names]
        await asyncio.gather(*map(buffer.committed, entries), commit(small, "small"))
        await commit(buffer, "home again")
    assert await payloads(lab, fence) == [*names, "home again"]
    rows = await lab.log_rows(fence.thread_id)
    assert [len(row.contents) for row in rows][:2] == [1, 1]
    assert await lab.value("select count(distinct xmin::text) from run_events where run_id = %s", other.run_id) == 1


async def test_a_batch_has_its_limits_however_much_has_gathered(lab: Laboratory, proxy: Proxy) -> None:
    fences = [await seed_run(lab) for _ in range(50)]
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffers = [bench.open(fence) for fence in fences]
        await commit(buffers[0], "before")
        proxy.hold(FLUSH)
        first = asyncio.ensure_future(commit(buffers[0], "first"))
        await until(lambda: proxy.held, "a flush is under way")
        everything = [entry for buffer in buffers for entry in pile_up(bench, buffer)]
        proxy.release()
        await asyncio.gather(first, *everything)
    sizes = await lab.rows("select count(*) from checkpoints group by xmin::text")
    assert max(size for (size,) in sizes) * 4 <= MAX_ROWS  # each entry is four rows
    assert len(sizes) >= 3
    for fence in fences:
        assert hole_in(await lab.log_rows(fence.thread_id), None) == ""


def pile_up(bench: Bench, buffer: RunBuffer) -> list[asyncio.Future[None]]:
    entries = [buffer.add(make_checkpoint(str(number))) for number in range(30)]
    return [asyncio.ensure_future(buffer.committed(entry)) for entry in entries]


async def test_nothing_is_acknowledged_before_it_is_committed(lab: Laboratory, proxy: Proxy) -> None:
    fence = await seed_run(lab)
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        await commit(buffer, "before")
        proxy.hold(FLUSH)
        for make in (make_checkpoint, make_write, make_event):
            waiting = asyncio.ensure_future(buffer.committed(buffer.add(make("held"))))
            await until(lambda: proxy.held, "the flush is on its way")
            assert not waiting.done()
        proxy.release()
        await waiting
        assert await payloads(lab, fence) == ["before", "held", "held", "held"]
    assert await lab.value("show synchronous_commit") in ("on", "off")  # the server's own choice, never ours


async def test_nothing_is_written_behind_the_end_of_a_run(lab: Laboratory, proxy: Proxy) -> None:
    """A task that would not stop still emits; and LangGraph may still save what waited for an earlier save."""
    fence = await seed_run(lab)
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        await commit(buffer, "before")
        proxy.hold(FLUSH)
        waiting = buffer.add(make_checkpoint("waiting"))
        await until(lambda: proxy.held, "a flush is on its way")
        buffer.add(Entry(ready=False)).add_event("values", b'"of a checkpoint that never comes"')
        end = buffer.add(make_finish("end"))
        buffer.add_event("custom", b'"late"')
        with pytest.raises(FencedOut):
            buffer.add(make_checkpoint("late"))
        proxy.release()
        await buffer.committed(waiting)
        await buffer.committed(end)
    assert await payloads(lab, fence) == ["before", "waiting", "end"]
    assert await lab.value("select status from runs where run_id = %s", fence.run_id) == "success"


async def test_a_run_whose_end_was_refused_can_still_write_and_end(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    await lab.rows("alter table run_events add constraint no_poison check (payload <> '\"poison\"')")
    try:
        async with open_writer(lab.database()) as bench:
            buffer = bench.open(fence)
            with pytest.raises(CheckViolation):
                await buffer.committed(buffer.add(make_finish("poison")))
            await commit(buffer, "after")
            await buffer.committed(buffer.add(make_finish("end")))
    finally:
        await lab.rows("alter table run_events drop constraint no_poison")
    assert await payloads(lab, fence) == ["after", "end"]
