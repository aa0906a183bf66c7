"""A reader's place in the log while rows are committed around it."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from threadline.checkpoints.pool import Pool
from threadline.runs.model import LogRow
from threadline.runs.tails import Tails


class Overtaken(Tails):
    """Tails of a process that commits rows between the reading of a head and the answer's arrival."""

    rows: Sequence[LogRow] = ()

    async def _read_head(self, thread_id: UUID) -> tuple[int, int]:
        head = await super()._read_head(thread_id)
        self.publish(self.rows)
        return head


def row(thread_id: UUID, seq: int) -> LogRow:
    return LogRow(thread_id, seq, seq, uuid4(), [("values", 2, 0)], b"{}")


@pytest.mark.parametrize("committed", [1, 3])
async def test_what_is_committed_while_a_stream_opens_is_handed_over_once(pool: Pool, committed: int) -> None:
    thread_id = uuid4()
    async with pool.connection() as connection:
        await connection.execute("insert into thread_heads (thread_id) values (%s)", [thread_id])
    tails = Overtaken(pool, timedelta(seconds=1))
    tails.rows = [row(thread_id, seq) for seq in range(1, committed + 1)]
    async with tails.follow(thread_id, 0) as subscription:
        assert await subscription.next_rows(5) == tails.rows
        assert subscription.cursor == committed
        assert not subscription.behind


async def test_a_cursor_beyond_the_end_starts_over_whatever_is_committed_meanwhile(pool: Pool) -> None:
    thread_id = uuid4()
    async with pool.connection() as connection:
        await connection.execute("insert into thread_heads (thread_id, last_seq) values (%s, 3)", [thread_id])
    tails = Overtaken(pool, timedelta(seconds=1))
    tails.rows = [row(thread_id, 6)]
    async with tails.follow(thread_id, 5) as subscription:
        assert subscription.cursor == 0
        assert subscription.behind
        assert await subscription.next_rows(0.01) == []
