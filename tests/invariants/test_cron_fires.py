"""Each moment of a cron is noted with the run it started, or why it started none, and is never acted on twice."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from threadline.graphs.registry import system_assistant_id
from threadline.runs.crons import Cron, CronRequest
from threadline.runs.engine import Engine
from threadline.runs.fires import Fire, FireHasRun, FireNotFound, Fires
from threadline.runs.model import MultitaskStrategy
from threadline.runs.scheduler import MAX_ATTEMPTS
from threadline.runs.sweep import Keeping, Sweep
from threadline.tests.laboratory.laboratory import Laboratory, open_gate
from threadline.tests.laboratory.locks import until


async def make_cron(door: Engine, **changes: Any) -> Cron:
    fields: dict[str, Any] = {
        "assistant_id": system_assistant_id("line"),
        "thread_id": None,
        "schedule": "@yearly",
        "timezone": None,
        "end_time": None,
        "metadata": {},
        "payload": {},
        "kwargs": {"input": {"gates": [], "log": []}},
        "on_run_completed": "keep",
    }
    return await door.crons.create(CronRequest(**{**fields, **changes}))


def engine_fires(engine: Engine) -> Fires:
    return Fires(engine.pool, engine.crons.on_change)


async def make_due(lab: Laboratory, ago: str = "0 seconds") -> None:
    await lab.rows(f"update crons set next_run_date = clock_timestamp() - interval '{ago}'")


async def hurry(lab: Laboratory) -> None:
    """Let the pause of what is tried again be over."""
    await lab.rows("update cron_fires set due_at = clock_timestamp() where due_at is not null")


async def until_noted(
    engine: Engine, cron: Cron, is_so: Callable[[Fire], bool] = lambda fire: fire.status != "pending"
) -> Fire:
    async def find() -> Fire | None:
        found = await engine_fires(engine).search(cron.cron_id)
        return found[0] if found and is_so(found[0]) else None

    fire: Fire = await until(find, "the moment is noted")
    return fire


async def runs_of(lab: Laboratory, cron: Cron) -> list[UUID]:
    rows = await lab.rows("select run_id from runs where metadata ->> 'cron_id' = %s", str(cron.cron_id))
    return [run_id for (run_id,) in rows]


async def make_orphan(lab: Laboratory, door: Engine) -> tuple[Cron, Callable[[], Awaitable[None]]]:
    """A cron whose assistant is gone and that is due, and what brings the assistant back."""
    assistant = await door.assistants.create("line")
    cron = await make_cron(door, assistant_id=assistant.assistant_id)
    await lab.rows("delete from assistants where assistant_id = %s", assistant.assistant_id)
    await make_due(lab)

    async def restore() -> None:
        statement = "insert into assistants (assistant_id, graph_id, name) values (%s, %s, %s)"
        await lab.rows(statement, assistant.assistant_id, assistant.graph_id, assistant.name)

    return cron, restore


async def test_a_moment_that_fired_names_its_run(lab: Laboratory) -> None:
    engine = await lab.open()
    cron = await make_cron(engine)
    await make_due(lab)
    engine_fire = await until_noted(engine, cron)
    assert (engine_fire.status, engine_fire.attempts, engine_fire.error) == ("fired", 1, None)
    assert [engine_fire.run_id] == await runs_of(lab, cron)
    assert engine_fire.thread_id is not None
    assert engine_fire.settled_at is not None


async def test_a_moment_that_its_strategy_leaves_out_says_so(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    run = await door.queue.create(lab.request("line", input={"log": []}, delay=timedelta(hours=1)))
    cron = await make_cron(door, thread_id=run.thread_id, multitask_strategy=MultitaskStrategy.REJECT)
    await make_due(lab)
    engine = await lab.open()
    fire = await until_noted(engine, cron)
    assert (fire.status, fire.error) == ("skipped", "its thread has runs in flight")
    assert await runs_of(lab, cron) == []


async def test_a_moment_whose_thread_is_gone_is_given_up_and_ends_the_cron(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    run = await door.queue.create(lab.request("line", input={"log": []}))
    cron = await make_cron(door, thread_id=run.thread_id)
    await door.threads.delete(run.thread_id)
    await make_due(lab)
    fire = await until_noted(await lab.open(), cron)
    assert (fire.status, fire.error) == ("dead", f"Thread with ID {run.thread_id} not found")
    assert await lab.value("select next_run_date from crons") is None


async def test_a_moment_whose_assistant_is_away_is_tried_again_until_it_is_back(lab: Laboratory) -> None:
    engine = await lab.open()
    cron, restore = await make_orphan(lab, engine)
    fire = await until_noted(engine, cron, lambda each: each.attempts == 1)
    assert (fire.status, fire.due_at is not None) == ("pending", True)
    assert "not found" in str(fire.error)
    await hurry(lab)
    await until_noted(engine, cron, lambda each: each.attempts >= 2)
    await restore()
    await hurry(lab)
    fired = await until_noted(engine, cron)
    assert (fired.fire_id, fired.status, fired.error, fired.due_at) == (fire.fire_id, "fired", None, None)
    assert await runs_of(lab, cron) == [fired.run_id]


async def test_a_moment_that_meets_a_full_queue_is_tried_again(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    cron = await make_cron(door)
    folder = lab.make_folder()
    held = {"folder": str(folder), "gates": ["b"], "log": []}
    run = await door.queue.create(lab.request("line", input=held))
    engine = await lab.open(max_pending_runs=1)
    await lab.until_traced(folder, "b started")
    waiting = await door.queue.create(lab.request("line", run.thread_id, input={"folder": str(folder), "gates": []}))
    await make_due(lab)
    fire = await until_noted(engine, cron, lambda each: each.attempts == 1)
    assert (fire.status, "runs are waiting" in str(fire.error)) == ("pending", True)
    open_gate(folder, "b")
    await lab.until_status(waiting, "success")

    async def has_fired() -> bool:
        # Beginning anew: who counts what waits does so once a second.
        await lab.rows("update cron_fires set due_at = clock_timestamp(), attempts = 1 where due_at is not null")
        return (await until_noted(engine, cron, lambda each: True)).status == "fired"

    await until(has_fired, "there is room again")
    assert len(await runs_of(lab, cron)) == 1


async def test_a_moment_is_given_up_after_so_many_attempts(lab: Laboratory) -> None:
    engine = await lab.open()
    cron, _ = await make_orphan(lab, engine)
    await until_noted(engine, cron, lambda each: each.attempts == 1)
    await lab.rows("update cron_fires set attempts = %s", MAX_ATTEMPTS - 1)
    await hurry(lab)
    fire = await until_noted(engine, cron)
    assert (fire.status, fire.attempts, fire.due_at) == ("dead", MAX_ATTEMPTS, None)
    assert "not found" in str(fire.error)


async def test_a_moment_that_was_given_up_is_tried_again_when_somebody_says_so(lab: Laboratory) -> None:
    engine = await lab.open()
    cron, restore = await make_orphan(lab, engine)
    await until_noted(engine, cron, lambda each: each.attempts == 1)
    await lab.rows("update cron_fires set attempts = %s", MAX_ATTEMPTS - 1)
    await hurry(lab)
    dead = await until_noted(engine, cron)
    await restore()
    again = await engine_fires(engine).retry(cron.cron_id, dead.fire_id)
    assert again.fire_id == dead.fire_id
    fired = await until_noted(engine, cron)
    assert (fired.fire_id, fired.status, fired.attempts) == (dead.fire_id, "fired", 1)
    assert await runs_of(lab, cron) == [fired.run_id]
    with pytest.raises(FireHasRun):
        await engine_fires(engine).retry(cron.cron_id, dead.fire_id)
    other = await make_cron(engine)
    with pytest.raises(FireNotFound):
        await engine_fires(engine).retry(other.cron_id, dead.fire_id)


async def test_a_moment_is_given_up_when_the_next_one_comes(lab: Laboratory) -> None:
    engine = await lab.open()
    cron, restore = await make_orphan(lab, engine)
    first = await until_noted(engine, cron, lambda each: each.attempts == 1)
    await lab.rows("update cron_fires set due_at = clock_timestamp() + interval '1 hour'")
    await restore()
    await make_due(lab)
    await until_noted(engine, cron, lambda each: each.status == "fired")
    latest, earlier = await engine_fires(engine).search(cron.cron_id)
    assert (latest.status, earlier.fire_id, earlier.status) == ("fired", first.fire_id, "dead")
    assert str(earlier.error).endswith("(given up when the cron fell due again)")
    assert len(await runs_of(lab, cron)) == 1


async def test_a_cron_that_is_switched_off_is_tried_no_more(lab: Laboratory) -> None:
    engine = await lab.open()
    cron, restore = await make_orphan(lab, engine)
    await until_noted(engine, cron, lambda each: each.attempts == 1)
    await engine.crons.patch(cron.cron_id, {"enabled": False}, {}, {}, {})
    await restore()
    await hurry(lab)
    fire = await until_noted(engine, cron)
    assert (fire.status, fire.error) == ("dead", "the cron was switched off")
    assert await runs_of(lab, cron) == []


async def test_a_cron_that_can_never_have_a_run_does_not_hold_up_the_others(lab: Laboratory) -> None:
    engine = await lab.open()
    broken = await make_cron(engine)
    fine = await make_cron(engine)
    await lab.rows(
        "update crons set multitask_strategy = 'none', next_run_date = clock_timestamp() - interval '1 day'"
        " where cron_id = %s",
        broken.cron_id,
    )
    await lab.rows("update crons set next_run_date = clock_timestamp() where cron_id = %s", fine.cron_id)
    assert (await until_noted(engine, fine)).status == "fired"
    fire = await until_noted(engine, broken, lambda each: each.attempts == 1)
    assert "is not a valid MultitaskStrategy" in str(fire.error)


async def test_a_moment_that_was_acted_on_is_not_acted_on_again(lab: Laboratory) -> None:
    engine = await lab.open()
    cron = await make_cron(engine)
    await make_due(lab)
    fire = await until_noted(engine, cron)
    # As after a restore of the table from an older copy.
    await lab.rows("update crons set next_run_date = %s", fire.scheduled_at)

    async def is_over() -> bool:
        return bool(await lab.value("select next_run_date > clock_timestamp() from crons"))

    engine.crons.on_change()
    await until(is_over, "the cron looks ahead again")
    assert await runs_of(lab, cron) == [fire.run_id]


async def test_two_processes_try_a_moment_again_only_once(lab: Laboratory) -> None:
    first, _ = await asyncio.gather(lab.open(), lab.open())
    cron, restore = await make_orphan(lab, first)
    await until_noted(first, cron, lambda each: each.attempts >= 1)
    await restore()
    await hurry(lab)
    fire = await until_noted(first, cron)
    assert fire.status == "fired"
    assert await runs_of(lab, cron) == [fire.run_id]


async def test_what_became_of_moments_is_swept_after_its_days_and_goes_with_the_cron(lab: Laboratory) -> None:
    door = await lab.open(executes=False)
    cron = await make_cron(door)
    for status, age in (("fired", 2), ("skipped", 2), ("dead", 2), ("dead", 4), ("fired", 0)):
        await lab.rows(
            "insert into cron_fires (fire_id, cron_id, scheduled_at, status, settled_at) values (gen_random_uuid(), %s,"
            " clock_timestamp(), %s, clock_timestamp() - make_interval(days => %s))",
            cron.cron_id,
            status,
            age,
        )
    await Sweep(door.pool, Keeping(settled=timedelta(days=1), dead=timedelta(days=3))).sweep()
    left = await engine_fires(door).search(cron.cron_id)
    assert [fire.status for fire in left] == ["fired", "dead"]
    assert await engine_fires(door).search(cron.cron_id, status="dead") == left[1:]
    await door.crons.delete(cron.cron_id)
    assert await lab.value("select count(*) from cron_fires") == 0
