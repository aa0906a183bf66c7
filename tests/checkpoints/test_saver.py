"""Our savers keep LangGraph's contract, and the official saver reads what they wrote."""

import asyncio
import operator
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.rows import dump_json, split_channel_values
from threadline.checkpoints.saver import ThreadSaver


class Log(TypedDict):
    log: Annotated[list[str], operator.add]
    title: str


def build_graph(saver: BaseCheckpointSaver[Any]) -> Any:
    async def write(state: Log) -> dict[str, Any]:
        return {"log": ["written"], "title": state["title"] + "!"}

    return StateGraph(Log).add_node(write).add_edge(START, "write").compile(checkpointer=saver)


async def test_the_saver_has_every_capability_of_the_conformance_suite(pool: Pool) -> None:
    @checkpointer_test(name="ThreadSaver")
    async def saver() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        yield ThreadSaver(pool)

    report = await validate(saver)
    results = report.results
    assert {name for name, result in results.items() if result.passed} == {c.value for c in Capability}, results


@pytest.mark.parametrize(("writer", "reader"), [(ThreadSaver, AsyncPostgresSaver), (AsyncPostgresSaver, ThreadSaver)])
async def test_a_thread_is_read_by_the_official_saver_and_the_other_way_round(
    pool: Pool, writer: type[AsyncPostgresSaver], reader: type[AsyncPostgresSaver]
) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    connections: Any = pool  # the official saver's annotation wants rows as dicts; it asks for them itself
    await build_graph(writer(connections)).ainvoke({"log": ["in"], "title": "a"}, config)
    state = await build_graph(reader(connections)).aget_state(config)
    history = [s async for s in build_graph(reader(connections)).aget_state_history(config)]
    assert state.values == {"log": ["in", "written"], "title": "a!"}
    assert len(history) == 3


async def test_a_backslash_in_a_name_leaves_a_thread_readable(pool: Pool) -> None:
    saver = ThreadSaver(pool)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    await build_graph(saver).ainvoke({"log": ["in"], "title": "a"}, config)
    latest = await saver.aget_tuple(config)
    assert latest is not None
    await saver.aput_writes(latest.config, [(r"branch:to:..\..\x", None)], r"task\1")
    read = await saver.aget_tuple(config)
    assert read is not None
    assert read.pending_writes == [(r"task\1", r"branch:to:..\..\x", None)]


async def test_runs_do_not_queue_behind_one_lock(pool: Pool) -> None:
    saver = ThreadSaver(pool)
    inside = asyncio.Barrier(4)

    async def hold() -> None:
        async with saver._cursor() as cursor:
            await cursor.execute("select 1")
            await inside.wait()

    async with asyncio.timeout(20):
        await asyncio.gather(*(hold() for _ in range(4)))


def test_what_jsonb_cannot_hold_becomes_a_blob() -> None:
    values = {"ok": "text", "nul": "a\0b", "lone": "\ud800", "nan": float("nan"), "n": 2**70, "list": [1]}
    inline, stored = split_channel_values(values)
    assert set(inline) == {"ok", "n"}
    assert set(stored) == {"nul", "lone", "nan", "list"}


async def test_hostile_strings_survive_a_round_trip_through_the_tables(pool: Pool) -> None:
    config: Any = {"configurable": {"thread_id": "t"}, "metadata": {"note": "x\0y"}}
    graph = build_graph(ThreadSaver(pool))
    result = await graph.ainvoke({"log": ["nul \0", "lone \ud800"], "title": "nul \0"}, config)
    assert result["title"] == "nul \0!"
    assert (await graph.aget_state(config)).values["title"] == "nul \0!"


def test_lone_surrogates_never_reach_jsonb() -> None:
    assert dump_json({"a": "\ud800", "b": 2**70}) == '{"a": "?", "b": 1180591620717411303424}'


async def test_our_constructor_sets_what_the_official_one_sets(pool: Pool) -> None:
    connections: Any = pool  # the official saver's annotation wants rows as dicts; it asks for them itself
    ours, official = vars(ThreadSaver(pool)), vars(AsyncPostgresSaver(connections))
    of_ours = {"stamp", "_vault"}
    assert ours.keys() - of_ours == official.keys()
    same = ours.keys() - {"serde", "lock", *of_ours}
    assert {key: ours[key] for key in same} == {key: official[key] for key in same}
