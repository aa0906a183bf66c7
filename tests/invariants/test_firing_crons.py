"""A cron fires once at each of its moments, however many processes look, and on time."""

import asyncio
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from threadline.graphs.registry import system_assistant_id
from threadline.runs.crons import Cron, CronRequest
from threadline.runs.engine import Engine
from threadline.runs.model import MultitaskStrategy
from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.locks import until

EVERY_SECOND = "* * * * * *"


async def make_cron(lab: Laboratory, door: Engine, **changes: Any) -> Cron:
    fields: dict[str, Any] = {
        "assistant_id": system_assistant_id("line"),
        "thread_id": None,
        "schedule": EVERY_SECOND,
        "timezone": None,
        "end_time": None,
        "metadata": {},
        "payload": {},
        "kwargs": {"input": {"folder": str(lab.make_folder()), "gates": [], "log": []}},
        "on_run_completed": "keep",
    }
    return await door.crons.create(CronRequest(**{**fields, **changes}))


async def fired(lab: Laboratory, cron: Cron) -> list[tuple[datetime, float]]:
    """The moments at which runs were made, cut to seconds, and how late in them, in milliseconds."""
    rows = await lab.rows(
        "select created_at from runs where metadata ->> 'cron_id' = %s order by created_at", str(cron.cron_id)
    )
    return [(at.replace(microsecond=0), at.microsecond / 1000) for (at,) in rows]


async def fire_for(lab: Laboratory, seconds: int) -> float:
    """Let two processes fire a cron that is due every second; returns how late the latest was, in milliseconds."""
    door = await lab.open(executes=False)
    await asyncio.gather(lab.start(), lab.start())
    cron = await make_cron(lab, door)

    async def enough() -> bool:
        return len(await fired(lab, cron)) > seconds

    await until(enough, f"it has fired {seconds} times", seconds + 30)
    await door.crons.delete(cron.cron_id)
    moments = await fired(lab, cron)
    whole = [at for at, _ in moments]
    gaps = [(after - before).total_seconds() for before, after in pairwise(whole)]
    assert gaps == [1.0] * len(gaps), moments
    return max(late for _, late in moments)


async def test_two_processes_fire_a_cron_once_a_second(lab: Laboratory) -> None:
    await fire_for(lab, 3)


@pytest.mark.slow  # it takes the minute that it is about
async def test_a_cron_fires_sixty_times_in_a_minute_and_on_time(lab: Laboratory) -> None:
    late = await fire_for(lab, 60)
    print(f"the latest of 60 was {late:.0f} ms late")
    assert late < 200


async def test_what_was_missed_in_an_outage_is_made_up_for_by_one_run(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    cron = await make_cron(lab, door, schedule="0 0 1 1 *")
    await lab.rows("update crons set next_run_date = clock_timestamp() - interval '3 years'")
    await lab.start()

    async def has_fired() -> bool:
        return len(await fired(lab, cron)) == 1

    await until(has_fired, "it fires")
    after = await lab.value("select next_run_date > clock_timestamp() from crons")
    assert (after, len(await fired(lab, cron))) == (True, 1)


async def test_a_cron_that_may_not_disturb_its_thread_waits_for_its_next_moment(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    run = await door.queue.create(lab.request("line", input={"log": []}))
    strategy = MultitaskStrategy.REJECT
    cron = await make_cron(
        lab, door, thread_id=run.thread_id, schedule="@yearly", multitask_strategy=strategy, on_run_completed=None
    )
    await lab.rows("update crons set next_run_date = clock_timestamp()")
    engine = await lab.open(concurrency=1)
    assert engine.process_id != door.process_id

    async def is_over() -> bool:
        return bool(await lab.value("select next_run_date > clock_timestamp() from crons"))

    await until(is_over, "its moment has passed")
    assert len(await fired(lab, cron)) <= 1


async def test_a_cron_of_a_thread_that_is_gone_comes_to_its_end(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    run = await door.queue.create(lab.request("line", input={"log": []}))
    await make_cron(lab, door, thread_id=run.thread_id, schedule="@yearly", on_run_completed=None)
    await door.threads.delete(run.thread_id)
    await lab.rows("update crons set next_run_date = clock_timestamp()")
    await lab.start()

    async def is_over() -> bool:
        return await lab.rows("select next_run_date from crons") == [(None,)]

    await until(is_over, "it is never due again")
