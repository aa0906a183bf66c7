"""The saver keeps LangGraph's contract with sealed values, and notices what was put where it does not belong."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from threadline.checkpoints.pool import Database, Pool, open_pool
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.vault import NotSealed, Tampered, UnknownKey
from threadline.tests.checkpoints.sealed_world import NEW, OLD, find_in_database, vault_with
from threadline.tests.checkpoints.test_saver import build_graph

CANARY = "canary-7f3a"


@pytest.fixture
async def sealed(dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(Database(dsn, vault=vault_with(NEW)), "test") as opened:
        yield opened


async def run_graph(pool: Pool, thread_id: str = "t") -> Any:
    graph = build_graph(ThreadSaver(pool))
    config: Any = {"configurable": {"thread_id": thread_id}}
    await graph.ainvoke({"log": [CANARY], "title": CANARY}, config)
    return graph, config


async def test_the_sealing_saver_has_every_capability_of_the_conformance_suite(sealed: Pool) -> None:
    @checkpointer_test(name="ThreadSaver")
    async def saver() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        yield ThreadSaver(sealed)

    results = (await validate(saver)).results
    missing = {c.value for c in Capability} - {name for name, result in results.items() if result.passed}
    assert missing == set(), results


async def test_no_value_lies_in_the_tables_in_plain_text(sealed: Pool, dsn: str) -> None:
    graph, config = await run_graph(sealed)
    await graph.aupdate_state(config, {"log": [CANARY], "title": CANARY})
    assert find_in_database(dsn, CANARY) == []
    state = await graph.aget_state(config)
    assert state.values == {"log": [CANARY, "written", CANARY], "title": CANARY}
    assert len([each async for each in graph.aget_state_history(config)]) == 4


async def test_the_search_for_plain_text_finds_it_where_nothing_is_sealed(pool: Pool, dsn: str) -> None:
    await run_graph(pool)
    assert find_in_database(dsn, CANARY) == ["checkpoint_blobs", "checkpoint_writes", "checkpoints"]


@pytest.mark.parametrize(
    "swap",
    [
        "update checkpoint_blobs b set blob = o.blob from checkpoint_blobs o "
        "where b.thread_id = 't' and o.thread_id = 'u' and b.channel = o.channel "
        "and split_part(b.version, '.', 1) = split_part(o.version, '.', 1)",
        "update checkpoint_blobs b set blob = o.blob from checkpoint_blobs o "
        "where b.channel = 'log' and o.channel = 'log' and b.version > o.version",
        "update checkpoints c "
        "set checkpoint = jsonb_set(c.checkpoint, '{sealed_values}', o.checkpoint -> 'sealed_values') "
        "from checkpoints o where c.thread_id = 't' and o.thread_id = 'u' and o.checkpoint ? 'sealed_values'",
        "update checkpoint_blobs set type = 'bytes+aesgcm' where type = 'msgpack+aesgcm'",
        "update checkpoint_blobs set blob = set_byte(blob, 60, 255 - get_byte(blob, 60)) where blob is not null",
    ],
    ids=["thread", "version", "values in the checkpoint", "form", "byte"],
)
async def test_a_value_from_elsewhere_is_noticed(sealed: Pool, swap: str) -> None:
    graph, config = await run_graph(sealed)
    await run_graph(sealed, "u")
    async with sealed.connection() as connection:
        await connection.execute(swap.encode())
    with pytest.raises(Tampered, match="of t /"):
        await graph.aget_state(config)


async def test_a_pending_write_from_elsewhere_is_noticed(sealed: Pool) -> None:
    saver, (_, config) = ThreadSaver(sealed), await run_graph(sealed)
    latest = await saver.aget_tuple(config)
    assert latest is not None
    await saver.aput_writes(latest.config, [("log", "a"), ("log", "b")], "task")
    read = await saver.aget_tuple(config)
    assert read is not None
    assert read.pending_writes == [("task", "log", "a"), ("task", "log", "b")]
    async with sealed.connection() as connection:
        await connection.execute(
            "update checkpoint_writes w set blob = o.blob from checkpoint_writes o "
            "where w.task_id = 'task' and w.idx = 0 and o.task_id = 'task' and o.idx = 1"
        )
    with pytest.raises(Tampered, match="task / 0 / log"):
        await saver.aget_tuple(config)


@pytest.mark.parametrize(
    "plain",
    [
        """update checkpoints set checkpoint = jsonb_set(checkpoint, '{channel_values}', '{"title": "forged"}')""",
        r"update checkpoint_blobs set type = 'msgpack', blob = '\xa1'",
        r"update checkpoint_writes set type = 'msgpack', blob = '\xa1'",
    ],
    ids=["checkpoint", "blob", "write"],
)
async def test_plain_text_among_sealed_values_is_refused(sealed: Pool, plain: str) -> None:
    graph, config = await run_graph(sealed)
    async with sealed.connection() as connection:
        await connection.execute(plain.encode())
    with pytest.raises(NotSealed, match="plain text"):
        [each async for each in graph.aget_state_history(config)]


async def test_an_existing_thread_goes_on_where_plain_text_is_accepted(pool: Pool, dsn: str) -> None:
    await run_graph(pool)
    async with open_pool(Database(dsn, vault=vault_with(NEW, plain=True)), "test") as moving:
        graph, config = await run_graph(moving)
        assert (await graph.aget_state(config)).values["log"] == [CANARY, "written", CANARY, "written"]


async def test_a_thread_opens_with_the_old_key_behind_the_new_one_only(dsn: str) -> None:
    async with open_pool(Database(dsn, vault=vault_with(OLD)), "test") as opened:
        await run_graph(opened)
    async with open_pool(Database(dsn, vault=vault_with(NEW, OLD)), "test") as opened:
        graph, config = await run_graph(opened)
        assert len((await graph.aget_state(config)).values["log"]) == 4
    async with open_pool(Database(dsn, vault=vault_with(NEW)), "test") as opened:
        with pytest.raises(UnknownKey, match="'2025'"):
            [each async for each in build_graph(ThreadSaver(opened)).aget_state_history(config)]


async def test_the_official_saver_cannot_read_what_is_sealed(sealed: Pool, pool: Pool) -> None:
    _, config = await run_graph(sealed)
    connections: Any = pool
    with pytest.raises(NotImplementedError, match="aesgcm"):
        await build_graph(AsyncPostgresSaver(connections)).aget_state(config)
