"""Owns the proof that threads live as long as they were given, and that what is pruned is what nobody needs."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.saver import ThreadSaver
from threadline.keeping import KeepSettings
from threadline.runs.model import Ttl, TtlStrategy
from threadline.runs.retention import Retention, ThreadLifetimes, make_retention
from threadline.tests.laboratory.locks import until
from threadline.tests.runs.state_world import World, as_json, config_of

KEEP, DELETE = TtlStrategy.KEEP_LATEST, TtlStrategy.DELETE


@pytest.fixture
async def world(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(sys, "path", sys.path[:])
    return World(pool, tmp_path)


def retention(world: World, default: Ttl | None = None, limit: int = 1000) -> Retention:
    lifetimes = ThreadLifetimes(default, timedelta(minutes=1), limit)
    return make_retention(world.pool, lifetimes, KeepSettings(), world.announced.append)


async def age(world: World, thread_id: UUID, minutes: float) -> None:
    """Let the thread, and what was done on it, be that old."""
    statement = """update threads set updated_at = updated_at - make_interval(secs => %s),
        created_at = created_at - make_interval(secs => %s), expires_at = expires_at - make_interval(secs => %s)
        where thread_id = %s"""
    await world.rows(statement, minutes * 60, minutes * 60, minutes * 60, thread_id)


async def is_there(world: World, thread_id: UUID) -> bool:
    return bool(await world.rows("select from threads where thread_id = %s", thread_id))


async def checkpoints(world: World, thread_id: UUID) -> int:
    return len(await world.rows("select from checkpoints where thread_id = %s", str(thread_id)))


async def test_a_thread_whose_time_is_over_is_deleted(world: World) -> None:
    short, long, forever, plain = [
        (await world.threads.create(ttl=ttl)).thread_id for ttl in (Ttl(1), Ttl(10), Ttl(-1), Ttl())
    ]
    for thread_id in (short, long, forever, plain):
        await age(world, thread_id, 5)
    assert await retention(world).sweep() == 1
    assert [await is_there(world, each) for each in (short, long, forever, plain)] == [False, True, True, True]
    assert world.announced == [short]


async def test_what_happens_on_a_thread_lets_its_time_begin_anew(world: World) -> None:
    thread_id = (await world.threads.create(ttl=Ttl(1))).thread_id
    await age(world, thread_id, 5)
    await world.threads.patch(thread_id, {"a": 1})
    assert await retention(world).sweep() == 0
    await age(world, thread_id, 5)
    assert await retention(world).sweep() == 1


async def test_a_thread_at_work_is_left_alone(world: World) -> None:
    thread_id = (await world.threads.create(ttl=Ttl(1))).thread_id
    await age(world, thread_id, 5)
    await world.rows("update thread_heads set inflight = 1 where thread_id = %s", thread_id)
    assert await retention(world).sweep() == 0
    await world.rows("update thread_heads set inflight = 0 where thread_id = %s", thread_id)
    assert await retention(world).sweep() == 1


async def test_a_thread_can_keep_its_latest_state_when_its_time_is_over(world: World) -> None:
    thread_id = await world.start(log=["in"])
    await world.threads.patch(thread_id, {}, Ttl(1, KEEP))
    before = as_json(await world.states.get(thread_id))
    assert await checkpoints(world, thread_id) == 4
    await age(world, thread_id, 5)
    assert await retention(world).sweep() == 1
    assert await checkpoints(world, thread_id) == 1
    assert as_json(await world.states.get(thread_id)) == before
    # It is not pruned again and again.
    assert await retention(world).sweep() == 0


async def test_a_sweep_takes_no_more_than_its_limit(world: World) -> None:
    for _ in range(3):
        await age(world, (await world.threads.create(ttl=Ttl(1))).thread_id, 5)
    assert [await retention(world, limit=2).sweep() for _ in range(3)] == [2, 1, 0]


async def test_two_sweeps_at_once_take_each_thread_once(world: World) -> None:
    for _ in range(20):
        await age(world, (await world.threads.create(ttl=Ttl(1))).thread_id, 5)
    assert sum(await asyncio.gather(*(retention(world).sweep() for _ in range(3)))) == 20


async def test_the_default_holds_for_threads_made_from_then_on(world: World) -> None:
    older = (await world.threads.create()).thread_id
    swept = retention(world, Ttl(1, KEEP))
    await swept.set_default()
    mine = await world.threads.create(ttl=Ttl(9))
    made = await world.threads.create()
    assert (made.ttl_minutes, made.ttl_strategy, mine.ttl_minutes) == (1, "keep_latest", 9)
    # A run that creates its thread says nothing of its time to live.
    by_run = uuid4()
    await world.rows("insert into thread_heads (thread_id) values (%s)", by_run)
    await world.rows("insert into threads (thread_id) values (%s)", by_run)
    await swept.sweep()
    assert (await world.threads.get(by_run)).ttl_minutes == 1
    assert (await world.threads.get(older)).ttl_minutes is None
    await retention(world).set_default()
    assert (await world.threads.create()).ttl_minutes is None


async def test_saying_the_same_default_again_changes_nothing(world: World) -> None:
    since = []
    for default in (Ttl(1), Ttl(1), Ttl(2)):
        await retention(world, default).set_default()
        since += await world.rows("select since from thread_ttl_default")
    assert since[0] == since[1] < since[2]


async def test_a_prune_raises_the_fence_and_moves_the_horizon(world: World) -> None:
    thread_id = await world.start(log=["in"])
    epoch, last_seq, _ = await world.head(thread_id)
    await world.states.update(thread_id, {"note": "x"}, as_node="act")
    assert await retention(world).prune([thread_id, thread_id, uuid4()], KEEP) == 1
    assert (await world.head(thread_id))[0] == epoch + 2
    [(trimmed,)] = await world.rows("select trimmed_seq from thread_heads where thread_id = %s", thread_id)
    assert (trimmed, await world.events(thread_id)) == (last_seq + 1, [])


async def test_a_prune_waits_for_whoever_holds_the_thread_and_looks_again(world: World) -> None:
    thread_id = await world.start(log=["in"])
    async with world.pool.connection() as connection, connection.transaction():
        await connection.execute("update thread_heads set inflight = 1 where thread_id = %s", [thread_id])
        pruning = asyncio.create_task(retention(world).prune([thread_id], KEEP))
        await until(lambda: world.rows("select from pg_locks where not granted"), "the prune waits")
    assert await pruning == 0
    assert await checkpoints(world, thread_id) == 4


async def test_nothing_refers_to_a_value_that_a_prune_removed(world: World) -> None:
    thread_id = await world.start("nested", log=["in"], mode="ask")
    before = as_json(await world.states.get(thread_id, subgraphs=True))
    assert await retention(world).prune([thread_id], KEEP) == 1
    after = as_json(await world.states.get(thread_id, subgraphs=True))
    assert after == before
    orphans = """select b.* from checkpoint_blobs b where b.thread_id = %s and not exists (
        select from checkpoints c where c.thread_id = b.thread_id and c.checkpoint_ns = b.checkpoint_ns
            and c.checkpoint -> 'channel_versions' ->> b.channel = b.version)"""
    assert await world.rows(orphans, str(thread_id)) == []
    # The question that a subgraph asked can be answered still.
    async with world.registry.open_graph(
        "nested", checkpointer=ThreadSaver(world.pool), store=None, config={}, context_kind="threads.create_run"
    ) as graph:
        result: Any = await graph.ainvoke(Command(resume="yes"), config_of(thread_id))
    assert result["log"][-1] == "yes"


def extend(state: list[Any], writes: Any) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


def summing(world: World, snapshot_frequency: int) -> Any:
    """A graph that adds two messages to what it was given, and stores what is added."""

    class Summed(TypedDict, total=False):
        items: Annotated[list[Any], DeltaChannel(extend, snapshot_frequency=snapshot_frequency)]

    builder = StateGraph(Summed)
    for name in ("a", "b"):
        builder.add_node(name, lambda state, name=name: {"items": [HumanMessage(name)]})
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("b", END)
    return builder.compile(checkpointer=ThreadSaver(world.pool))


async def test_the_state_of_a_delta_channel_outlives_a_prune(world: World) -> None:
    graph = summing(world, 100)
    thread_id = (await world.threads.create()).thread_id
    await graph.ainvoke({"items": [HumanMessage("in")]}, config_of(thread_id))
    before = (await graph.aget_state(config_of(thread_id))).values
    assert len(before["items"]) == 3
    assert await retention(world).prune([thread_id], KEEP) == 1
    assert (await graph.aget_state(config_of(thread_id))).values == before


@pytest.mark.parametrize("snapshot_frequency", [1, 2, 3, 5])
async def test_of_a_delta_channel_only_what_follows_its_snapshot_is_kept(world: World, snapshot_frequency: int) -> None:
    graph = summing(world, snapshot_frequency)
    thread_id = (await world.threads.create()).thread_id
    for turn in range(1, 7):
        await graph.ainvoke({"items": [HumanMessage("in")]}, config_of(thread_id))
        if turn == 4:
            await graph.aupdate_state(config_of(thread_id), {"items": [HumanMessage("edited")]}, as_node="b")
        before = (await graph.aget_state(config_of(thread_id))).values["items"]
        assert await retention(world).prune([thread_id], KEEP) == 1
        after = (await graph.aget_state(config_of(thread_id))).values["items"]
        assert [(item.content, item.id) for item in after] == [(item.content, item.id) for item in before]
        assert len(after) == turn * 3 + (turn >= 4)
        # A superstep without a write to the channel lies between those with one.
        assert await checkpoints(world, thread_id) <= 2 * snapshot_frequency + 1


async def test_a_subgraph_with_a_memory_of_its_own_keeps_it(world: World) -> None:
    class Count(TypedDict, total=False):
        seen: Annotated[list[int], lambda old, new: (old or []) + new]
        told: int

    def count(state: Count) -> Count:
        return {"seen": [1], "told": len(state.get("seen", [])) + 1}

    class Outer(TypedDict, total=False):
        told: int

    inner = StateGraph(Count).add_node("count", count).add_edge(START, "count").compile(checkpointer=True)
    outer = StateGraph(Outer).add_node("inner", inner).add_node("ask", lambda _: {"told": interrupt("?")})
    graph = outer.add_edge(START, "inner").compile(checkpointer=ThreadSaver(world.pool))
    thread_id = (await world.threads.create()).thread_id
    await graph.ainvoke({}, config_of(thread_id))
    assert (await graph.ainvoke({}, config_of(thread_id)))["told"] == 2
    assert await retention(world).prune([thread_id], KEEP) == 1
    assert (await graph.ainvoke({}, config_of(thread_id)))["told"] == 3
