"""Owns the proof that nothing a thread's state is made of is lost by pruning, whatever is at work on it meanwhile."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from threadline.checkpoints.statements import load_statements
from threadline.runs.engine import Engine
from threadline.runs.expiry import prune_checkpoints
from threadline.runs.model import TtlStrategy
from threadline.tests.laboratory import graphs
from threadline.tests.laboratory.laboratory import Laboratory, open_gate
from threadline.tests.laboratory.locks import until_blocked

KEEP = TtlStrategy.KEEP_LATEST
TURNS = 5
_EXPIRY = load_statements("threadline.runs", "expiry.sql")
_ORPHANS = """
    select c.checkpoint_ns, v.key, v.value
    from checkpoints c, jsonb_each_text(c.checkpoint -> 'channel_versions') v
    where c.thread_id = %s and c.checkpoint -> 'channel_values' -> v.key is null
        and v.key in ('log', 'folder') and not exists (
            select from checkpoint_blobs b
            where b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
                and b.channel = v.key and b.version = v.value
        )
"""


async def take_turn(lab: Laboratory, engine: Engine, thread_id: UUID | None, answer: str) -> UUID:
    """Ask something of the thread and answer what it asks back."""
    asked = await lab.run(engine, "layered", thread_id, input={"folder": str(lab.make_folder())})
    assert asked.status == "success"
    answered = await lab.run(engine, "layered", asked.thread_id, command={"resume": answer})
    assert answered.status == "success"
    return asked.thread_id


async def read_state(lab: Laboratory, thread_id: UUID) -> dict[str, Any]:
    """Read the state with LangGraph's own saver."""
    async with AsyncPostgresSaver.from_conn_string(lab.dsn) as saver:
        graph = graphs.compile_layered()
        graph.checkpointer = saver
        state = await graph.aget_state({"configurable": {"thread_id": str(thread_id)}}, subgraphs=True)
    asked = [question.value for task in state.tasks for question in task.interrupts]
    return {"log": state.values["log"], "sum": state.values["sum"], "asked": asked, "next": state.next}


async def test_a_state_is_the_same_whether_its_thread_was_pruned_all_the_time_or_never(lab: Laboratory) -> None:
    engine, pruner = await lab.open(), await lab.open(executes=False)
    count, now = "select count(*) from checkpoints where thread_id = %s", "select clock_timestamp()"
    left_alone = None
    for turn in range(TURNS):
        left_alone = await take_turn(lab, engine, left_alone, str(turn))
    assert left_alone is not None
    whole, kept = await read_state(lab, left_alone), await lab.value(count, str(left_alone))
    pruned = await take_turn(lab, engine, None, "0")

    async def prune_for_ever() -> None:
        while True:
            await pruner.retention.prune([pruned], KEEP)
            await pruner.retention.expiry.thin_checkpoints(await lab.value(now))
            await pruner.retention.expiry.remove_events(await lab.value(now))

    pruning = asyncio.create_task(prune_for_ever())
    for turn in range(1, TURNS):
        await take_turn(lab, engine, pruned, str(turn))
    pruning.cancel()
    with suppress(asyncio.CancelledError):
        await pruning
    await pruner.retention.prune([pruned], KEEP)
    assert await read_state(lab, pruned) == whole
    assert whole["sum"] == ["a", "c"] * TURNS
    assert await lab.rows(_ORPHANS, str(pruned)) == []
    assert await lab.value(count, str(pruned)) < kept / 4


async def test_an_open_question_outlives_a_prune_and_is_answered_then(lab: Laboratory) -> None:
    engine = await lab.open()
    thread_id = await take_turn(lab, engine, None, "first")
    await lab.run(engine, "layered", thread_id, input={"folder": str(lab.make_folder())})
    asked = await read_state(lab, thread_id)
    assert asked["asked"] == [{"asks": "ask"}]
    assert await engine.retention.prune([thread_id], KEEP) == 1
    assert await read_state(lab, thread_id) == asked
    await lab.run(engine, "layered", thread_id, command={"resume": "second"})
    state = await read_state(lab, thread_id)
    assert (state["log"][-2:], state["sum"][-1], state["next"]) == (["ask=second", "c"], "c", ())


async def test_a_run_that_is_within_a_subgraph_is_left_alone_and_ends_as_if_nobody_had_asked(lab: Laboratory) -> None:
    engine, pruner = await lab.open(), await lab.open(executes=False)
    thread_id = await take_turn(lab, engine, None, "first")
    folder = lab.make_folder()
    gated = {"folder": str(folder), "gates": ["inner_b"]}
    run = await engine.queue.create(lab.request("layered", thread_id, input=gated))
    await lab.until_traced(folder, "inner_b started")
    stored = "select checkpoint_ns, checkpoint_id from checkpoints where thread_id = %s order by 1, 2"
    before = await lab.rows(stored, str(thread_id))
    assert await pruner.retention.prune([thread_id], KEEP) == 0
    assert await pruner.retention.sweep() == 0
    assert set(before) <= set(await lab.rows(stored, str(thread_id)))
    open_gate(folder, "inner_b")
    assert await lab.until_status(run, "success", "error") == "success"
    assert (await read_state(lab, thread_id))["asked"] == [{"asks": "ask"}]


async def test_a_run_that_comes_in_the_middle_of_a_prune_starts_from_what_it_leaves(lab: Laboratory) -> None:
    engine = await lab.open()
    thread_id = await take_turn(lab, engine, None, "first")
    pruning, watching = await lab.connect("test/pruning"), await lab.connect("test/watching")
    async with pruning.transaction():
        await pruning.execute(_EXPIRY["take_heads"], {"thread_ids": [thread_id]})
        folder = str(lab.make_folder())
        running = asyncio.create_task(lab.run(engine, "layered", thread_id, input={"folder": folder}))
        await until_blocked(watching, "threadline/admission")
        assert await prune_checkpoints(pruning, [thread_id]) > 0
    run = await running
    assert run.status == "success"
    state = await read_state(lab, thread_id)
    assert (state["sum"], state["asked"]) == (["a", "c", "a"], [{"asks": "ask"}])
    assert await lab.rows(_ORPHANS, str(thread_id)) == []
