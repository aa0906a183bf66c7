"""Invariant 3, of effects: what a run did to the world is journalled by who owns the thread, and by nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from threadline.checkpoints.buffer import Fence, FencedOut
from threadline.checkpoints.effects import EffectJournal
from threadline.checkpoints.pool import Pool, open_pool
from threadline.checkpoints.run_saver import RunSaver
from threadline.checkpoints.serde import make_serializer
from threadline.effects import Task
from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.locks import until_blocked
from threadline.tests.laboratory.proxy import open_proxy
from threadline.tests.laboratory.writing import open_writer, seed_run

TASK = Task("", "", "0", "1", 1)
HEAD = "select from thread_heads where thread_id = %s for no key update"
PAST = "update thread_heads set epoch = epoch + 1 where thread_id = %s"


@asynccontextmanager
async def open_journal(
    lab: Laboratory, fence: Fence, pool: Pool, task: Task | None = None
) -> AsyncIterator[tuple[EffectJournal, list[str]]]:
    """A journal of the run, and what it says when it is fenced out; the checkpoint of `task` is saved."""
    told: list[str] = []
    async with open_writer(lab.database()) as bench:
        saver = RunSaver(pool, bench.open(fence), fresh=False, serde=make_serializer())
        if task is not None:
            config: Any = {"configurable": {"thread_id": str(fence.thread_id)}}
            await saver.aget_tuple(config)
            await saver.aput(config, {**empty_checkpoint(), "id": task.checkpoint_id}, {}, {})
        yield (
            EffectJournal(pool, saver, fence, keeps_checkpoints=True, on_fenced_out=lambda: told.append("fenced out")),
            told,
        )


async def test_the_journal_takes_nothing_of_a_run_that_lost_its_thread(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    async with open_pool(lab.database(), "journal") as pool, open_journal(lab, fence, pool, TASK) as (journal, told):
        assert await journal.begin(TASK, "kept") is None
        assert await journal.finish(TASK, "kept", {"n": 1}) == {"n": 1}
        await lab.rows(PAST, fence.thread_id)
        with pytest.raises(FencedOut):
            await journal.finish(TASK, "late", 2)
        with pytest.raises(FencedOut):  # before it happens
            await journal.begin(TASK, "later")
        assert told == ["fenced out"] * 2
    assert await lab.rows("select name, task_id, checkpoint_id, run_id from effects") == [
        ("kept", "1", "0", fence.run_id)
    ]


async def test_a_result_that_is_journalled_is_never_replaced(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    async with open_pool(lab.database(), "journal") as pool, open_journal(lab, fence, pool) as (journal, _):
        await journal.finish(TASK, "one", 1)
        await journal.finish(TASK, "one", 2)
    [(kind, blob)] = await lab.rows("select type, blob from effects")
    assert make_serializer().loads_typed((kind, blob)) == 1


async def test_a_node_that_is_stopped_still_has_written_down_what_it_has_done(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    async with (
        open_pool(lab.database(), "journal") as pool,
        open_journal(lab, fence, pool) as (journal, _),
        await lab.connect("holder") as holder,
    ):
        async with holder.transaction():
            await holder.execute(HEAD, [fence.thread_id])
            writing = asyncio.create_task(journal.finish(TASK, "done", 1))
            await until_blocked(holder, "threadline/journal")
            for _ in range(3):
                writing.cancel()
                await asyncio.sleep(0)
            assert not writing.done()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert await lab.value("select count(*) from effects") == 1


async def test_a_result_whose_commit_was_not_heard_of_is_written_down_once(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    async with (
        open_proxy(lab.dsn) as proxy,
        open_pool(lab.database(proxy.conninfo), "journal") as pool,
        open_journal(lab, fence, pool) as (journal, told),
    ):
        proxy.lose_answer("select true from head")
        assert await journal.finish(TASK, "done", 1) == 1
        assert (proxy.lost, told) == (1, [])
    assert await lab.value("select count(*) from effects") == 1


def unsavable(checkpoint_id: str) -> Any:
    """A checkpoint with a value that has no stored form, as the saver is handed it."""
    checkpoint = {**empty_checkpoint(), "id": checkpoint_id, "channel_values": {"odd": object()}}
    return checkpoint, {}, {"odd": "1"}


async def test_a_task_whose_checkpoint_cannot_be_saved_has_no_effect(lab: Laboratory) -> None:
    fence = await seed_run(lab)
    async with open_pool(lab.database(), "journal") as pool, open_writer(lab.database()) as bench:
        saver = RunSaver(pool, bench.open(fence), fresh=True, serde=make_serializer())
        await saver.aget_tuple({"configurable": {"thread_id": str(fence.thread_id)}})
        journal = EffectJournal(pool, saver, fence, keeps_checkpoints=True, on_fenced_out=print)
        task = Task(str(fence.thread_id), "", "1f0", "1", 1)
        begun = asyncio.create_task(journal.begin(task, "never"))
        await asyncio.sleep(0)
        checkpoint = unsavable(task.checkpoint_id)
        with pytest.raises(TypeError):
            await saver.aput({"configurable": {"thread_id": str(fence.thread_id)}}, *checkpoint)
        with pytest.raises(TypeError):
            await begun
