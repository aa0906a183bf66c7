"""All strategies at once, from two API processes to two workers: never two runs of one thread at work."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from threadline.tests.laboratory.locks import until
from threadline.tests.process.deployments import Clients, Deployment

THREADS = 200
STRATEGIES = ("enqueue", "reject", "interrupt", "rollback")

# Without the index that is only a backstop, and with a witness of each start: how many were at work then.
AUDIT = """
    drop index runs_one_active_per_thread;
    create table starts (thread_id uuid, run_id uuid, at_work integer);
    create function note_start() returns trigger language plpgsql as $$
    begin
        insert into starts
        select new.thread_id, new.run_id, count(*) from runs r
        where r.thread_id = new.thread_id and r.status = 'running';
        return null;
    end $$;
    create trigger runs_note_start after insert or update of status on runs for each row
    when (new.status = 'running') execute function note_start();
"""


async def text_twice(first: Clients, second: Clients, number: int) -> None:
    """A run, and then one of each strategy at the same time, from both sides."""
    thread_id = (await first.http.post("/threads", json={})).raise_for_status().json()["thread_id"]
    state = {"name": f"t{number}", "log": [], "steps": 3, "pace": 0.02}

    async def text(clients: Clients, strategy: str) -> None:
        body: dict[str, Any] = {"assistant_id": "counting", "input": state, "multitask_strategy": strategy}
        answer = await clients.http.post(f"/threads/{thread_id}/runs", json=body)
        assert answer.status_code == 200 or (answer.status_code, strategy) == (409, "reject"), answer.text

    await text(first, "enqueue")
    sides = (first, second, first, second)
    await asyncio.gather(*(text(side, strategy) for side, strategy in zip(sides, STRATEGIES, strict=True)))


@pytest.mark.slow  # four programs start, and a thousand runs are made: about half a minute
async def test_no_two_runs_of_a_thread_are_ever_at_work(dsn: str, folder: Path) -> None:
    sides = [Deployment(folder / name, dsn=dsn) for name in ("one", "two")]
    try:
        for side in sides:
            side.folder.mkdir(exist_ok=True)
        await asyncio.gather(*(start() for side in sides for start in (side.api, side.work)))
        await sides[0].rows(AUDIT)
        async with sides[0].clients() as first, sides[1].clients() as second:
            for begin in range(0, THREADS, 20):
                await asyncio.gather(*(text_twice(first, second, number) for number in range(begin, begin + 20)))

        async def is_over() -> bool:
            return await sides[0].rows("select 1 from runs where status in ('pending', 'running') limit 1") == []

        await until(is_over, "every run has come to its end", 180)
        [(started, most)] = await sides[0].rows("select count(*), max(at_work) from starts")
        assert started >= THREADS
        assert most == 1
        odd = "select thread_id from thread_heads where run_id is not null or inflight <> 0 or cancel is not null"
        assert await sides[0].rows(odd) == []
        assert await sides[0].rows("select 1 from runs where status not in ('success', 'interrupted') limit 1") == []
    finally:
        for side in sides:
            await side.close()
