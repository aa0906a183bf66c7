"""Owns the proof that threads can be made, labelled, found and removed while runs write on them."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from threadline.checkpoints.pool import Pool
from threadline.runs.errors import Invalid, ThreadExists, ThreadNotFound
from threadline.runs.model import Thread, ThreadStatus
from threadline.runs.threads import Threads

ROWS = {
    "thread_heads": "insert into thread_heads (thread_id) values (%(id)s)",
    "threads": "insert into threads (thread_id) values (%(id)s)",
    "runs": "insert into runs (run_id, thread_id, assistant_id, graph_id, status) "
    "values (gen_random_uuid(), %(id)s, gen_random_uuid(), 'g', 'success')",
    "run_events": "insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload) "
    "values (%(id)s, 1, 1, gen_random_uuid(), '[]', '')",
    "checkpoints": "insert into checkpoints (thread_id, checkpoint_id, checkpoint) "
    "values (%(id)s::uuid::text, gen_random_uuid()::text, '{}')",
    "checkpoint_blobs": "insert into checkpoint_blobs (thread_id, channel, version, type) "
    "values (%(id)s::uuid::text, gen_random_uuid()::text, '1', 'empty')",
    "checkpoint_writes": "insert into checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob) "
    "values (%(id)s::uuid::text, 'c', gen_random_uuid()::text, 0, 'c', '')",
}


@pytest.fixture
def threads(pool: Pool) -> Threads:
    return Threads(pool)


async def execute(pool: Pool, statement: str, **parameters: Any) -> int:
    async with pool.connection() as connection:
        cursor = await connection.execute(statement.encode(), parameters)
        return cursor.rowcount


async def count_rows(pool: Pool, table: str, thread_id: UUID) -> int:
    statement = f"select from {table} where thread_id::text = %(id)s::uuid::text"
    return await execute(pool, statement, id=thread_id)


async def finish(pool: Pool, thread: Thread, status: str, values: str = "null") -> None:
    """Leave on the thread what a run that ended would leave."""
    statement = 'update threads set status = %(status)s, "values" = %(values)s where thread_id = %(id)s'
    await execute(pool, statement, status=status, values=values, id=thread.thread_id)


async def occupy(pool: Pool, thread: Thread) -> None:
    await execute(pool, "update thread_heads set inflight = 1 where thread_id = %(id)s", id=thread.thread_id)


def ids(found: list[Thread]) -> list[UUID]:
    return [thread.thread_id for thread in found]


async def test_a_created_thread_is_idle_and_has_a_head(threads: Threads, pool: Pool) -> None:
    thread = await threads.create(metadata={"user": {"name": "Ann"}})

    assert thread.thread_id.version == 7
    assert (thread.status, thread.values, thread.error) == (ThreadStatus.IDLE, None, None)
    assert (thread.config, thread.interrupts) == ({}, {})
    assert thread.metadata == {"user": {"name": "Ann"}}
    assert await threads.get(thread.thread_id) == thread
    assert await count_rows(pool, "thread_heads", thread.thread_id) == 1


async def test_a_second_thread_of_an_id_is_refused(threads: Threads) -> None:
    thread = await threads.create(uuid4(), {"n": 1})

    with pytest.raises(ThreadExists, match=f"Thread with ID {thread.thread_id} already exists"):
        await threads.create(thread.thread_id, {"n": 2})
    assert (await threads.get(thread.thread_id)).metadata == {"n": 1}


async def test_a_thread_that_exists_is_returned_untouched_when_asked_for(threads: Threads) -> None:
    thread = await threads.create(uuid4(), {"n": 1})

    assert await threads.create(thread.thread_id, {"n": 2}, "do_nothing") == thread


async def test_many_creators_of_one_id_get_the_same_thread(threads: Threads) -> None:
    thread_id = uuid4()

    created = await asyncio.gather(*(threads.create(thread_id, {"n": n}, "do_nothing") for n in range(20)))

    assert len({thread.metadata["n"] for thread in created}) == 1


async def test_a_thread_with_runs_in_flight_reads_as_busy(threads: Threads, pool: Pool) -> None:
    thread = await threads.create()
    await finish(pool, thread, "interrupted")
    await occupy(pool, thread)

    assert (await threads.get(thread.thread_id)).status is ThreadStatus.BUSY
    assert (await threads.patch(thread.thread_id, {})).status is ThreadStatus.BUSY
    assert ids(await threads.search(status=ThreadStatus.BUSY)) == [thread.thread_id]
    assert await threads.search(status=ThreadStatus.INTERRUPTED) == []
    assert await threads.count(status=ThreadStatus.BUSY) == 1


async def test_patching_merges_metadata_key_by_key(threads: Threads) -> None:
    thread = await threads.create(metadata={"a": {"x": 1}, "b": 1})

    patched = await threads.patch(thread.thread_id, {"a": {"y": 2}, "c": None})

    assert patched.metadata == {"a": {"y": 2}, "b": 1, "c": None}
    assert patched.updated_at > thread.updated_at
    assert patched.state_updated_at == thread.state_updated_at
    assert await threads.get(thread.thread_id) == patched


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"user": {"name": "A\x00"}}, r"metadata\.user\.name holds U\+0000"),
        ({"tags": ["ok", "\ud800"]}, r"metadata\.tags\[1\] holds U\+D800"),
        ({"a\x00b": 1}, r"a key of metadata holds U\+0000"),
    ],
)
async def test_metadata_the_database_cannot_hold_is_refused_by_key(
    threads: Threads, metadata: dict[str, Any], complaint: str
) -> None:
    thread = await threads.create()

    with pytest.raises(Invalid, match=complaint):
        await threads.create(metadata=metadata)
    with pytest.raises(Invalid, match=complaint):
        await threads.patch(thread.thread_id, metadata)
    with pytest.raises(Invalid, match=complaint):
        await threads.search(metadata=metadata)
    assert await threads.count() == 1


async def test_an_unknown_thread_is_not_found(threads: Threads) -> None:
    unknown = uuid4()
    for refused in (threads.get(unknown), threads.patch(unknown, {}), threads.delete(unknown)):
        with pytest.raises(ThreadNotFound, match=f"Thread with ID {unknown} not found"):
            await refused


async def test_deleting_a_thread_leaves_nothing_of_it_and_all_of_others(threads: Threads, pool: Pool) -> None:
    doomed, kept = uuid4(), uuid4()
    for statement in ROWS.values():
        await execute(pool, statement, id=doomed)
        await execute(pool, statement, id=kept)

    await threads.delete(doomed)

    assert {table: await count_rows(pool, table, doomed) for table in ROWS} == dict.fromkeys(ROWS, 0)
    assert {table: await count_rows(pool, table, kept) for table in ROWS} == dict.fromkeys(ROWS, 1)


async def test_a_delete_removes_what_was_committed_while_it_waited(threads: Threads, pool: Pool, dsn: str) -> None:
    thread = await threads.create()
    async with await psycopg.AsyncConnection.connect(dsn) as writer:
        await writer.execute("select from thread_heads where thread_id = %s for no key update", [thread.thread_id])
        deleting = asyncio.create_task(threads.delete(thread.thread_id))
        await until_somebody_waits_for_a_lock(pool)
        await writer.execute(ROWS["checkpoints"].encode(), {"id": thread.thread_id})
        await writer.execute(ROWS["runs"].encode(), {"id": thread.thread_id})
        await writer.commit()
        await deleting

    assert await count_rows(pool, "checkpoints", thread.thread_id) == 0
    assert await count_rows(pool, "runs", thread.thread_id) == 0


async def test_a_writer_that_waited_for_a_delete_finds_no_head(threads: Threads, pool: Pool, dsn: str) -> None:
    thread = await threads.create()
    lock = "select from thread_heads where thread_id = %s order by thread_id for no key update"
    async with (
        await psycopg.AsyncConnection.connect(dsn) as blocker,
        await psycopg.AsyncConnection.connect(dsn) as writer,
    ):
        await blocker.execute(lock, [thread.thread_id])
        deleting = asyncio.create_task(threads.delete(thread.thread_id))
        await until_somebody_waits_for_a_lock(pool)
        writing = asyncio.create_task(writer.execute(lock, [thread.thread_id]))
        await until_somebody_waits_for_a_lock(pool, sessions=2)
        await blocker.rollback()
        await deleting

        assert (await writing).rowcount == 0


async def until_somebody_waits_for_a_lock(pool: Pool, sessions: int = 1) -> None:
    statement = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(20):
        while await execute(pool, statement) < sessions:
            pass


async def test_deletes_and_sorted_flushes_never_deadlock(threads: Threads, pool: Pool) -> None:
    everybody = [(await threads.create()).thread_id for _ in range(12)]
    flush = (
        "with head as materialized (select thread_id from thread_heads where thread_id = any(%(ids)s) "
        "order by thread_id for no key update) "
        "update threads t set updated_at = clock_timestamp() from head where t.thread_id = head.thread_id"
    )

    async def keep_flushing() -> None:
        while await execute(pool, flush, ids=everybody):
            pass

    await asyncio.gather(
        keep_flushing(), keep_flushing(), *(threads.delete(thread_id) for thread_id in reversed(everybody))
    )

    assert await threads.count() == 0


async def test_a_search_finds_the_newest_first_and_pages(threads: Threads) -> None:
    made = [(await threads.create(metadata={"n": n})).thread_id for n in range(5)]

    assert ids(await threads.search()) == made[::-1]
    assert ids(await threads.search(limit=2, offset=1)) == made[::-1][1:3]
    for limit in (0, 1002):
        with pytest.raises(Invalid, match="limit must be between 1 and 1000"):
            await threads.search(limit=limit)
    with pytest.raises(Invalid, match="offset"):
        await threads.search(offset=-1)


async def test_a_search_compares_metadata_by_containment(threads: Threads) -> None:
    ann = await threads.create(metadata={"user": {"name": "Ann", "age": 3}, "tags": ["a", "b"]})
    await threads.create(metadata={"user": {"name": "Bob"}})

    assert ids(await threads.search(metadata={"user": {"name": "Ann"}})) == [ann.thread_id]
    assert ids(await threads.search(metadata={"tags": ["b"]})) == [ann.thread_id]
    assert await threads.search(metadata={"user": "Ann"}) == []
    assert await threads.count(metadata={"user": {"age": 3}}) == 1
    assert await threads.count(metadata={}) == 2


async def test_a_search_by_values_copes_with_threads_never_run_and_with_nul(threads: Threads, pool: Pool) -> None:
    await threads.create()
    plain, odd, escaped = await threads.create(), await threads.create(), await threads.create()
    await finish(pool, plain, "idle", '{"n": 1, "log": ["x"]}')
    await finish(pool, odd, "idle", r'{"n": 1, "text": "a\u0000b"}')
    await finish(pool, escaped, "idle", r'{"n": 2, "text": "a\\u0000b"}')

    assert set(ids(await threads.search(values={"n": 1}))) == {plain.thread_id, odd.thread_id}
    assert ids(await threads.search(values={"log": ["x"]})) == [plain.thread_id]
    assert ids(await threads.search(values={"text": "a\x00b"})) == [odd.thread_id]
    assert ids(await threads.search(values={"text": "a\\u0000b"})) == [escaped.thread_id]
    assert await threads.count(values={"n": 1}) == 2
    assert (await threads.get(odd.thread_id)).values == {"n": 1, "text": "a\x00b"}


async def test_a_search_by_ids_ignores_an_empty_list(threads: Threads) -> None:
    first, second = await threads.create(), await threads.create()

    assert ids(await threads.search(ids=[first.thread_id, uuid4()])) == [first.thread_id]
    assert ids(await threads.search(ids=[])) == [second.thread_id, first.thread_id]


async def test_hidden_threads_are_read_by_id_only(threads: Threads, pool: Pool) -> None:
    thread = await threads.create()
    await execute(pool, "update threads set hidden = true where thread_id = %(id)s", id=thread.thread_id)

    assert await threads.search() == []
    assert await threads.search(ids=[thread.thread_id]) == []
    assert await threads.count() == 0
    assert (await threads.get(thread.thread_id)).thread_id == thread.thread_id


async def test_a_search_sorts_by_every_column_both_ways(threads: Threads, pool: Pool) -> None:
    idle, busy, error = [await threads.create() for _ in range(3)]
    await finish(pool, error, "error")
    await occupy(pool, busy)
    await threads.patch(idle.thread_id, {"touched": True})
    await execute(
        pool, "update threads set state_updated_at = clock_timestamp() where thread_id = %(id)s", id=busy.thread_id
    )
    by_id = sorted([idle.thread_id, busy.thread_id, error.thread_id])

    assert ids(await threads.search(sort_by="thread_id", sort_order="asc")) == by_id
    assert ids(await threads.search(sort_by="thread_id", sort_order="desc")) == by_id[::-1]
    for order, expected in {
        "created_at": [idle, busy, error],
        "updated_at": [busy, error, idle],
        "state_updated_at": [idle, error, busy],
        "status": [busy, error, idle],
    }.items():
        wanted = ids(expected)
        assert ids(await threads.search(sort_by=order, sort_order="asc")) == wanted  # type: ignore[arg-type]  # a column of the table above
        assert ids(await threads.search(sort_by=order, sort_order="desc")) == wanted[::-1]  # type: ignore[arg-type]  # a column of the table above


async def test_the_default_search_reads_its_index(threads: Threads, pool: Pool) -> None:
    statement = (
        "with made as (insert into threads (thread_id, metadata) select gen_random_uuid(), "
        "jsonb_build_object('n', n) from generate_series(1, 5000) n returning thread_id) "
        "insert into thread_heads (thread_id) select thread_id from made"
    )
    await execute(pool, statement)
    await execute(pool, "analyze")
    await execute(pool, "select pg_stat_reset()")

    for _ in range(8):
        assert len(await threads.search(limit=10)) == 10
        assert len(await threads.search(metadata={"n": 77})) == 1

    async with pool.connection() as connection:
        await connection.execute("select pg_stat_force_next_flush()")
        cursor = await connection.execute("select seq_scan from pg_stat_user_tables where relname = 'threads'")
        assert await cursor.fetchone() == (0,)
