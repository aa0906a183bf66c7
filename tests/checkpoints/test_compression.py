"""Owns the proof that large values are compressed by what is fastest, where the server has it."""

from threadline.checkpoints.pool import Pool

COMPRESSED = """
select c.relname || '.' || a.attname, a.attcompression
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = current_schema() and c.relkind = 'r' and a.attcompression <> ''
order by 1
"""
LARGE = ("checkpoint_blobs.blob", "checkpoint_writes.blob", "run_events.payload", "runs.kwargs", "threads.values")


async def test_large_values_are_compressed_by_lz4_where_the_server_has_it(pool: Pool) -> None:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'"
        )
        [(has_lz4,)] = await cursor.fetchall()
        compressed = await (await connection.execute(COMPRESSED)).fetchall()
    assert compressed == ([(name, "l") for name in LARGE] if has_lz4 else [])
