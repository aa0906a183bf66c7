"""Nothing is written that builds on what the database refused: neither a later checkpoint nor a run's success."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from psycopg.errors import CheckViolation

from threadline.checkpoints.buffer import Entry, RunBuffer
from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.proxy import Proxy, open_proxy
from threadline.tests.laboratory.writing import make_checkpoint, make_event, make_finish, open_writer, seed_run

FLUSH = "insert into checkpoints"


@pytest.fixture
async def proxy(lab: Laboratory) -> AsyncIterator[Proxy]:
    await lab.rows("alter table checkpoint_blobs add constraint no_poison check (blob <> 'poison')")
    async with open_proxy(lab.dsn) as opened:
        yield opened
    await lab.rows("alter table checkpoint_blobs drop constraint no_poison")


def tie(entries: Sequence[Entry]) -> Sequence[Entry]:
    for before, entry in pairwise(entries):
        entry.after = before
    return entries


async def outcomes(buffer: RunBuffer, entries: Sequence[Entry]) -> list[str]:
    answers = await asyncio.gather(*map(buffer.committed, entries), return_exceptions=True)
    return ["committed" if answer is None else type(answer).__name__ for answer in answers]


@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "in a later batch"])
async def test_what_builds_on_something_refused_is_refused_with_it(lab: Laboratory, proxy: Proxy, apart: bool) -> None:
    fence = await seed_run(lab)
    good, poison, later = (make_checkpoint(name) for name in ("good", "poison", "later"))
    end = make_finish("success")
    tie([good, poison, later, end])
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        proxy.hold(FLUSH)
        for entry in (good, poison):
            buffer.add(entry)
        if apart:
            await until(lambda: proxy.held, "the first two are on their way")
        for entry in (later, make_event("told"), end):
            buffer.add(entry)
        proxy.release()
        refused = CheckViolation.__name__
        assert await outcomes(buffer, [good, poison, later, end]) == ["committed", refused, refused, refused]
        await buffer.committed(buffer.add(make_finish("error")))
    told = [event.data for event in await lab.log(fence.thread_id)]
    assert told == [b'"good"', b'"told"', b'"error"']
    assert await lab.value("select count(*) from checkpoints where thread_id = %s", str(fence.thread_id)) == 1


async def test_what_is_tied_to_something_committed_does_not_keep_it_alive(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    entries = tie([make_checkpoint(str(number)) for number in range(5)])
    async with open_writer(lab.database()) as bench:
        buffer = bench.open(fence)
        for entry in entries:
            buffer.add(entry)
        await buffer.drained()
        assert all(entry.settled for entry in entries)
    assert [entry.after for entry in entries] == [None] * 5


async def test_a_buffer_is_drained_when_all_that_was_added_is_committed_or_refused(
    lab: Laboratory, proxy: Proxy
) -> None:
    fence = await seed_run(lab)
    async with open_writer(lab.database(proxy.conninfo)) as bench:
        buffer = bench.open(fence)
        await buffer.drained()
        proxy.hold(FLUSH)
        entries = [
            buffer.add(make) for make in (make_checkpoint("good"), make_checkpoint("poison"), make_event("last"))
        ]
        draining = asyncio.create_task(buffer.drained())
        await until(lambda: proxy.held, "the flush is on its way")
        assert not draining.done()
        proxy.release()
        await draining
    assert [entry.settled for entry in entries] == [True, True, True]
    assert [event.data for event in await lab.log(fence.thread_id)] == [b'"good"', b'"last"']
