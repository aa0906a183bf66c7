"""Invariant 5: the lease belongs to the process, on the database's clock; nothing but its passing proves a death."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from threadline.runs.engine import Engine
from threadline.runs.model import Run, RunStatus
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, read, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.processes import EngineProcess
from threadline.tests.laboratory.stories import STORIES, begin, finish, reports

LEASE = timedelta(seconds=1.5)
_LAPSED = "select leased_until < clock_timestamp() from processes where process_id = %s"
_HELD = "select leased_until > clock_timestamp() from processes where process_id = %s"
_KEEPER = """
    select pid from pg_stat_activity
    where datname = current_database() and application_name = 'threadline/lease'
"""


def given(folder: Path, *gates: str, **values: Any) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": [], **values}}


async def until_lapsed(lab: Laboratory, process: EngineProcess) -> None:
    await until(lambda: lab.value(_LAPSED, process.process_id), "the lease has passed")


async def attempts_of(lab: Laboratory, run: Run) -> list[int]:
    return [read(event)["attempt"] for event in await lab.log(run.thread_id) if event.name == "metadata"]


async def test_a_stalled_worker_that_wakes_after_its_lease_was_taken_writes_nothing(lab: Laboratory) -> None:
    """Every graph of the stories, stopped in mid-run by SIGSTOP, taken over, ended elsewhere; then it wakes."""
    how: dict[str, Any] = {"stream_mode": ["values", "updates", "custom"], "subgraphs": True, "durability": "sync"}
    stories = [story for story in STORIES if not story.answers]
    door = await lab.open(executes=False)
    stalled = await lab.start(lease=LEASE)
    tellings = await asyncio.gather(*[begin(lab, door, story, **how) for story in stories])
    stalled.signal(signal.SIGSTOP)
    survivor = await lab.open()
    await lab.make_steady()
    await until_lapsed(lab, stalled)
    for telling in tellings:
        open_gate(telling.folder, telling.story.gate)
    await asyncio.gather(*[finish(lab, survivor, telling, **how) for telling in tellings])
    before = [await everything(lab, telling.runs[0]) for telling in tellings]
    stalled.signal(signal.SIGCONT)
    # Awake, it finds its gates open: whatever it does now comes too late.
    await until(lambda: lab.value(_HELD, stalled.process_id), "it is back")
    after_waking = await lab.run(survivor, "line", **given(lab.make_folder()))
    stalled.stop()
    assert after_waking.status is RunStatus.SUCCESS
    assert [await everything(lab, telling.runs[0]) for telling in tellings] == before
    for telling in tellings:
        calm = await begin(lab, survivor, telling.story, undisturbed=True, **how)
        await finish(lab, survivor, calm, **how)
        assert (await lab.values(telling.thread_id))["log"] == (await lab.values(calm.thread_id))["log"]
        assert reports(await lab.log(telling.thread_id)) == reports(await lab.log(calm.thread_id))
        # In flight when it stalled: it ran to its end on waking, as nobody could tell it not to. No later node did.
        assert all(times <= 2 for times in trace(telling.folder).values())
        assert trace(telling.folder)["c done"] <= (2 if telling.story.gate == "c" else 1)


async def everything(lab: Laboratory, run: Run) -> list[Any]:
    """All that the database has of the run, with who wrote it."""
    thread = str(run.thread_id)
    kept = [
        await lab.rows(f"select xmin::text, * from {table} where thread_id = %s order by 1, 2, 3, 4", thread)
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    ]
    return [*kept, await lab.log(run.thread_id), await lab.rows("select * from runs where run_id = %s", run.run_id)]


async def test_a_node_that_holds_the_interpreter_for_long_keeps_its_lease(lab: Laboratory) -> None:
    """The lease is renewed by a program of its own; a hung node is a matter for run timeouts."""
    door = await lab.open(executes=False)
    await lab.start(lease=LEASE)
    folder = lab.make_folder()
    seconds = 2 * LEASE.total_seconds()
    run = await door.queue.create(lab.request("hogging", **given(folder, value=seconds)))
    await lab.until_traced(folder, "hog started")
    await lab.open()  # it would take the run up
    await lab.make_steady()
    await door.tails.result(run)
    assert await attempts_of(lab, run) == [1]
    assert trace(folder)["hog started"] == 1


async def test_the_age_of_a_run_proves_nothing(lab: Laboratory) -> None:
    worker, other = await lab.open(lease=LEASE), await lab.open(lease=LEASE)
    await lab.make_steady()
    folder = lab.make_folder()
    run = await worker.queue.create(lab.request("line", **given(folder, "b")))
    await lab.until_traced(folder, "b started")
    await lab.rows("update runs set started_at = '2001-01-01', created_at = '2001-01-01', updated_at = '2001-01-01'")
    # Somebody else's run is taken over meanwhile: the others do look.
    dead = await lab.start()
    dead_folder = lab.make_folder()
    theirs = await run_on_dead(lab, dead, other, dead_folder)
    assert (await other.queue.get(theirs.thread_id, theirs.run_id)).attempt == 2
    open_gate(folder, "b")
    await other.tails.result(run)
    assert await attempts_of(lab, run) == [1]


async def run_on_dead(lab: Laboratory, process: EngineProcess, other: Engine, folder: Path) -> Run:
    """A run whose process is killed, brought to its end by another one."""
    run = await other.queue.create(lab.request("line", **given(folder, "b")))
    await lab.rows("update runs set process_id = %s where run_id = %s", process.process_id, run.run_id)
    await lab.rows("update thread_heads set epoch = epoch + 1 where thread_id = %s", run.thread_id)
    process.kill()
    open_gate(folder, "b")
    await lab.until_status(run, "success")
    return run


async def test_a_keeper_that_loses_its_connection_opens_another_and_its_process_logs_that(
    lab: Laboratory, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = await lab.open(lease=timedelta(seconds=10), lease_renew=timedelta(seconds=0.1))
    [[keeper]] = await until(lambda: lab.rows(_KEEPER), "the keeper has renewed")
    renewed = "select leased_until from processes where process_id = %s"
    await lab.rows("select pg_terminate_backend(%s)", keeper)
    before = await lab.value(renewed, engine.process_id)

    async def has_been_renewed() -> bool:
        return bool(await lab.value(renewed, engine.process_id) > before)

    await until(has_been_renewed, "the lease is renewed again")
    logged = "lease.not_renewed"
    record = await until(lambda: next((r for r in caplog.records if r.message == logged), None), "that is logged")
    assert record.error.startswith("terminating connection due to administrator command")
    assert capfd.readouterr().err == ""


async def test_a_process_that_has_just_come_back_declares_nobody_dead(lab: Laboratory) -> None:
    """Whoever was cut off, as everybody was in an outage, has to be back for one lease first."""
    silent = await lab.start(lease=LEASE)
    folder = lab.make_folder()
    door = await lab.open(executes=False)
    run = await door.queue.create(lab.request("line", **given(folder, "b")))
    await lab.until_traced(folder, "b started")
    silent.signal(signal.SIGSTOP)
    await until_lapsed(lab, silent)
    newcomer = await lab.open(lease=timedelta(seconds=30))
    looks = await count_looks(lab)
    await until(lambda: looked_again(lab, looks), "the newcomer has looked around some more")
    assert await attempts_of(lab, run) == [1]
    # Steady for longer than a lease it may; having lapsed for a moment, it begins anew.
    await lab.rows("update processes set steady_since = clock_timestamp() - interval '31 seconds'")
    open_gate(folder, "b")
    await newcomer.tails.result(run)
    assert await attempts_of(lab, run) == [1, 2]


async def count_looks(lab: Laboratory) -> int:
    return int(await lab.value("select xact_commit from pg_stat_database where datname = current_database()"))


async def looked_again(lab: Laboratory, before: int) -> bool:
    return await count_looks(lab) > before + 40


async def test_a_lease_that_lapsed_starts_its_steady_time_anew(lab: Laboratory) -> None:
    engine = await lab.open()
    await lab.make_steady()
    await lab.rows("update processes set leased_until = clock_timestamp() - interval '1 second'")
    statement = "select steady_since > clock_timestamp() - interval '1 minute' from processes where process_id = %s"
    await until(lambda: lab.value(statement, engine.process_id), "its steady time begins with the renewal")


async def test_an_engine_that_is_closed_at_once_ends_at_once(lab: Laboratory) -> None:
    for _ in range(3):
        async with asyncio.timeout(10):
            await lab.open()
            await lab.exit()
    assert await lab.value("select count(*) from processes") == 0
