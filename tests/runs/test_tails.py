"""The place of a reader in the log while others write to it."""

import asyncio
from datetime import timedelta
from uuid import UUID

from threadline.checkpoints.pool import Pool
from threadline.runs.identity import uuid7
from threadline.runs.model import LogRow
from threadline.runs.tails import Tails


class Overtaken(Tails):
    """Readers whose look at the head is overtaken by a commit of this process, which hands over its rows."""

    def __init__(self, pool: Pool, rows: list[LogRow]) -> None:
        super().__init__(pool, timedelta(seconds=0.1))
        self._rows = rows
        self.overtaken = asyncio.Event()

    async def _read_head(self, thread_id: UUID) -> tuple[int, int]:
        answer = await super()._read_head(thread_id)
        for row in self._rows:
            await _commit(self._pool, row)
            self.publish([row])
        self._recent.forget(thread_id)
        self.overtaken.set()
        return answer


async def _commit(pool: Pool, row: LogRow) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            "with head as (update thread_heads set last_seq = %(last_seq)s where thread_id = %(thread_id)s)"
            " insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)"
            """ values (%(thread_id)s, %(first_seq)s, %(last_seq)s, %(run_id)s, '[["a", 1, 0]]', 'x')""",
            {field: getattr(row, field) for field in ("thread_id", "first_seq", "last_seq", "run_id")},
        )


def _row(thread_id: UUID, run_id: UUID, seq: int) -> LogRow:
    return LogRow(thread_id, seq, seq, run_id, [("a", 1, 0)], b"x")


async def _read(tails: Tails, thread_id: UUID, after: int, last: int) -> list[int]:
    """The numbers of the events that a reader behind `after` is handed, until number `last` comes."""
    reading = asyncio.create_task(tails.run())
    numbers: list[int] = []
    try:
        async with asyncio.timeout(10), tails.follow(thread_id, after) as subscription:
            while last not in numbers:
                numbers += [row.last_seq for row in await subscription.next_rows(1)]
    finally:
        reading.cancel()
    return numbers


async def _make_thread(pool: Pool) -> UUID:
    thread_id = uuid7()
    async with pool.connection() as connection:
        await connection.execute("insert into thread_heads (thread_id) values (%s)", [thread_id])
    return thread_id


async def test_events_committed_while_a_reader_looks_for_its_place_are_handed_out_once(pool: Pool) -> None:
    thread_id, run_id = await _make_thread(pool), uuid7()
    tails = Overtaken(pool, [_row(thread_id, run_id, 1), _row(thread_id, run_id, 2)])
    reading = asyncio.create_task(_read(tails, thread_id, 0, last=3))
    async with asyncio.timeout(10):
        await tails.overtaken.wait()
    await _commit(pool, _row(thread_id, run_id, 3))
    assert await reading == [1, 2, 3]


async def test_a_place_beyond_the_log_is_its_beginning_even_while_the_log_grows(pool: Pool) -> None:
    thread_id, run_id = await _make_thread(pool), uuid7()
    await _commit(pool, _row(thread_id, run_id, 1))
    tails = Overtaken(pool, [_row(thread_id, run_id, 2), _row(thread_id, run_id, 3)])
    assert await _read(tails, thread_id, 2, last=3) == [1, 2, 3]
