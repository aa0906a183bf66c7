"""Arrays sent in binary arrive as what they were."""

from uuid import UUID

import pytest

from threadline.checkpoints.arrays import (
    Array,
    BooleanArray,
    ByteaArray,
    FloatArray,
    IntegerArray,
    TextArray,
    UuidArray,
    register_arrays,
)
from threadline.checkpoints.pool import Pool

CASES = [
    (UuidArray, "uuid", [UUID(int=1), UUID(int=2**128 - 1)]),
    (TextArray, "text", ["", "ümläut 🧵", None, "{,}\\\"'"]),
    (ByteaArray, "bytea", [b"", b"\x00\xff", None]),
    (IntegerArray, "integer", [0, -1, 2**31 - 1, -(2**31)]),
    (BooleanArray, "boolean", [True, False]),
    (FloatArray, "double precision", [0.0, -1.5, 1e300]),
]


@pytest.mark.parametrize(("kind", "name", "values"), CASES)
async def test_an_array_arrives_as_it_was_sent(pool: Pool, kind: type[Array], name: str, values: list[object]) -> None:
    async with pool.connection() as connection:
        register_arrays(connection)
        for sent in (values, values[:1], []):
            cursor = await connection.execute(f"select %(a)b::{name}[]".encode(), {"a": kind(sent)}, binary=True)
            assert await cursor.fetchone() == (sent,)
