"""Owns the proof that no index of the schema says again what a longer one says, and costs each write for nothing."""

from threadline.checkpoints.pool import Pool

# Each pair: an index whose columns, operator classes, collations and directions are the first ones of another, of the
# same kind and with the same condition. A unique one is a promise of its own, unless the other one makes it too.
REPEATED = """
with indexes as (
    select i.indexrelid::regclass::text as name, i.indrelid, c.relam, i.indisunique,
        pg_get_expr(i.indpred, i.indrelid) as condition,
        array(
            select concat_ws(' ', pg_get_indexdef(i.indexrelid, k, true), i.indclass[k - 1], i.indcollation[k - 1],
                i.indoption[k - 1])
            from generate_series(1, i.indnkeyatts) k
        ) as keys
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = current_schema()
)
select short.name, long.name
from indexes short
join indexes long on long.indrelid = short.indrelid and long.name <> short.name and long.relam = short.relam
    and long.condition is not distinct from short.condition
    and long.keys[1:cardinality(short.keys)] = short.keys
where not short.indisunique or long.indisunique and long.keys = short.keys and long.name < short.name
"""


async def find_repeated(pool: Pool) -> list[tuple[str, str]]:
    async with pool.connection() as connection:
        return await (await connection.execute(REPEATED)).fetchall()


async def test_no_index_repeats_the_beginning_of_another(pool: Pool) -> None:
    assert await find_repeated(pool) == []


async def test_an_index_that_did_would_be_found(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("create index again on checkpoint_blobs (thread_id, checkpoint_ns)")
        await connection.execute("create unique index twice on store (prefix, key)")
        await connection.execute("create index other_order on runs (thread_id desc)")
        await connection.execute("create index other_condition on runs (thread_id) where status = 'error'")
    assert await find_repeated(pool) == [
        ("again", "checkpoint_blobs_pkey"),
        ("twice", "store_pkey"),
    ]
