"""Owns the proof that what runs left behind goes by its age, and that nobody who is at work is disturbed by that."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from threadline.checkpoints.pool import Pool, open_pool
from threadline.keeping import KeepSettings
from threadline.runs import expiry
from threadline.runs.engine import Engine
from threadline.runs.errors import CursorTrimmed, RunNotFound
from threadline.runs.expiry import Expiry, first_checkpoint_id
from threadline.runs.model import Run
from threadline.runs.sweep import Sweep
from threadline.tests.laboratory.laboratory import Laboratory, open_gate

NOW = timedelta(0)


async def finish(lab: Laboratory, engine: Engine, graph: str = "line", thread_id: UUID | None = None) -> Run:
    return await lab.run(engine, graph, thread_id, input={"folder": str(lab.make_folder())})


async def begin(lab: Laboratory, engine: Engine, thread_id: UUID | None = None) -> tuple[Run, Any]:
    """Start a run that waits in its second node; with it comes the folder of its gates."""
    folder = lab.make_folder()
    values = {"folder": str(folder), "gates": ["b"]}
    return await engine.queue.create(lab.request("line", thread_id, input=values)), folder


async def now(lab: Laboratory) -> datetime:
    moment: datetime = await lab.value("select clock_timestamp()")
    return moment


async def trimmed(lab: Laboratory, run: Run) -> int:
    seq: int = await lab.value("select trimmed_seq from thread_heads where thread_id = %s", run.thread_id)
    return seq


async def logged(lab: Laboratory, run: Run) -> int:
    count: int = await lab.value("select count(*) from run_events where run_id = %s", run.run_id)
    return count


def make_expiry(pool: Pool, **keep: Any) -> Expiry:
    return Expiry(pool, KeepSettings(**keep))


async def drain(step: Any, before: datetime) -> int:
    """Take this step until there is nothing left of it, and return how often there was."""
    taken = 0
    while await step(before):
        taken += 1
    return taken


async def test_without_a_policy_everything_stays(lab: Laboratory) -> None:
    engine = await lab.open()
    run = await finish(lab, engine)
    before = [await lab.log_rows(run.thread_id), await lab.rows("select * from runs")]
    await Sweep(engine.pool, expiry=engine.retention.expiry).sweep()
    assert [await lab.log_rows(run.thread_id), await lab.rows("select * from runs")] == before
    assert not +engine.retention.expiry.removed


async def test_a_sweep_applies_what_was_set_and_tells_how_much_went(
    lab: Laboratory, caplog: pytest.LogCaptureFixture
) -> None:
    keep = KeepSettings(events=timedelta(hours=1), runs=timedelta(hours=2), checkpoints=NOW)
    engine = await lab.open(keep=keep)
    old, middle, young = [await finish(lab, engine) for _ in range(3)]
    for run, hours in ((old, 3), (middle, 1.5)):
        await lab.rows(
            "update runs set ended_at = ended_at - make_interval(secs => %s) where run_id = %s",
            hours * 3600,
            run.run_id,
        )
    events = len(await lab.log(old.thread_id)) + len(await lab.log(middle.thread_id))
    caplog.set_level("INFO", "threadline.expiry")
    await Sweep(engine.pool, expiry=engine.retention.expiry).sweep()
    assert [await logged(lab, run) > 0 for run in (old, middle, young)] == [False, False, True]
    assert [await lab.status(run) for run in (old, middle, young)] == [None, "success", "success"]
    removed = engine.retention.expiry.removed
    assert (removed["events"], removed["runs"], removed["checkpoints"]) == (events, 1, 12)
    assert removed["event_bytes"] > 0
    [told] = [record for record in caplog.records if record.msg == "expiry.removed"]
    assert told.__dict__["events"] == events


async def test_the_events_of_an_ended_run_go_and_cursors_before_them_are_told(lab: Laboratory) -> None:
    engine, other = await lab.open(), await lab.open(executes=False)
    old = await finish(lab, engine)
    cutoff = await now(lab)
    young = await finish(lab, engine, thread_id=old.thread_id)
    whole = await lab.log(old.thread_id)
    assert await drain(engine.retention.expiry.remove_events, cutoff) == 1
    assert await trimmed(lab, old) == old.end_seq == young.start_seq
    with pytest.raises(CursorTrimmed, match=str(old.end_seq)):
        async with other.tails.follow(old.thread_id, old.start_seq):
            pass
    rows = await lab.log_rows(old.thread_id)
    assert [event for row in rows for event in row.events()] == [e for e in whole if e.seq > young.start_seq]
    # Who waits for the younger one finds its end, who waits for the older one nothing, and nothing of the other's.
    assert await other.tails.result(young) is not None
    assert await other.tails.result(old) is None


async def test_a_run_that_is_at_work_goes_on_while_the_log_before_it_is_removed(lab: Laboratory) -> None:
    engine = await lab.open()
    old = await finish(lab, engine)
    run, folder = await begin(lab, engine, old.thread_id)
    await lab.until_traced(folder, "b started")
    epoch = "select epoch from thread_heads where thread_id = %s"
    held = await lab.value(epoch, run.thread_id)
    assert await drain(engine.retention.expiry.remove_events, await now(lab)) == 1
    assert await trimmed(lab, run) == run.start_seq
    assert await lab.value(epoch, run.thread_id) == held
    open_gate(folder, "b")
    assert await lab.until_status(run, "success", "error") == "success"
    rows = await lab.log_rows(run.thread_id)
    assert rows[0].first_seq == run.start_seq + 1
    assert {row.run_id for row in rows} == {run.run_id}


async def test_a_run_that_waited_behind_an_old_one_keeps_its_place_in_the_log(lab: Laboratory) -> None:
    engine = await lab.open()
    old, folder = await begin(lab, engine)
    await lab.until_traced(folder, "b started")
    queued, gates = await begin(lab, engine, old.thread_id)
    open_gate(folder, "b")
    await lab.until_traced(gates, "b started")
    await drain(engine.retention.expiry.remove_events, await now(lab))
    assert await trimmed(lab, old) == queued.start_seq > 0
    open_gate(gates, "b")
    async with engine.tails.follow(queued.thread_id, queued.start_seq):
        pass
    # Once it is old as well, nothing is left.
    await lab.until_status(queued, "success")
    await drain(engine.retention.expiry.remove_events, await now(lab))
    assert await lab.log_rows(queued.thread_id) == []


async def test_a_thread_that_somebody_holds_is_left_for_later(lab: Laboratory) -> None:
    engine = await lab.open()
    run = await finish(lab, engine)
    cutoff = await now(lab)
    holder = await lab.connect()
    clearing = engine.retention.expiry
    async with holder.transaction():
        await holder.execute("select from thread_heads where thread_id = %s for update", [run.thread_id])
        for step in (clearing.remove_events, clearing.thin_checkpoints):
            assert await drain(step, cutoff) == 0
    for step in (clearing.remove_events, clearing.thin_checkpoints):
        assert await drain(step, cutoff) == 1


async def test_a_sweep_that_was_cut_off_is_done_again(lab: Laboratory) -> None:
    engine = await lab.open()
    run = await finish(lab, engine)
    await lab.rows("update thread_heads set trimmed_seq = last_seq")  # its first half
    assert await drain(engine.retention.expiry.remove_events, await now(lab)) == 1
    assert await logged(lab, run) == 0


async def test_sweeps_at_once_share_the_work_and_go_in_small_batches(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "EVENT_ROWS", 2)
    monkeypatch.setattr(expiry, "BATCH", 3)
    engine = await lab.open()
    runs = await asyncio.gather(*(finish(lab, engine) for _ in range(12)))
    events = sum([len(await lab.log(run.thread_id)) for run in runs])
    cutoff = await now(lab)
    sweeps = [make_expiry(engine.pool) for _ in range(3)]
    await asyncio.gather(*(drain(sweep.remove_events, cutoff) for sweep in sweeps))
    await drain(sweeps[0].remove_events, cutoff)  # what one left to another that was done already
    assert sum(sweep.removed["events"] for sweep in sweeps) == events
    assert await lab.value("select count(*) from run_events") == 0
    assert await lab.rows("select distinct cleared from runs") == [(2,)]


async def test_the_rows_of_ended_runs_go_and_their_thread_keeps_its_state(lab: Laboratory) -> None:
    engine = await lab.open()
    old = await finish(lab, engine)
    run, folder = await begin(lab, engine, old.thread_id)
    await lab.until_traced(folder, "b started")
    cutoff = await now(lab)
    assert await drain(engine.retention.expiry.remove_runs, cutoff) == 0  # not before its events
    await drain(engine.retention.expiry.remove_events, cutoff)
    assert await drain(engine.retention.expiry.remove_runs, cutoff) == 1
    with pytest.raises(RunNotFound):
        await engine.queue.get(old.thread_id, old.run_id)
    open_gate(folder, "b")
    assert await lab.until_status(run, "success", "error") == "success"
    assert (await lab.values(run.thread_id))["log"] == ["a", "b", "c"] * 2


async def test_old_checkpoints_go_but_for_the_newest_and_those_of_younger_runs(lab: Laboratory) -> None:
    async with open_pool(lab.database(), "test") as pool:
        engine = await lab.open()
        old = await finish(lab, engine)
        cutoff = await now(lab)
        young = await finish(lab, engine, thread_id=old.thread_id)
        made = "select metadata ->> 'run_id' from checkpoints where thread_id = %s order by checkpoint_id"

        async def makers() -> list[str]:
            return [row[0] for row in await lab.rows(made, str(old.thread_id))]

        assert await drain(make_expiry(pool).thin_checkpoints, cutoff) == 1
        assert await makers() == [str(young.run_id)] * 5
        assert await drain(make_expiry(pool, latest_checkpoints=3).thin_checkpoints, await now(lab)) == 1
        assert await makers() == [str(young.run_id)] * 3
        # What was thinned out once is not looked at again before something happens on its thread.
        assert await drain(make_expiry(pool).thin_checkpoints, await now(lab)) == 0


async def test_the_last_checkpoint_of_each_run_may_stay_so_that_each_turn_can_be_taken_anew(lab: Laboratory) -> None:
    engine = await lab.open(keep=KeepSettings(checkpoints=NOW, last_checkpoints=True))
    runs = [await finish(lab, engine)]
    runs += [await finish(lab, engine, thread_id=runs[0].thread_id) for _ in range(2)]
    await drain(engine.retention.expiry.thin_checkpoints, await now(lab))
    made = "select metadata ->> 'run_id', checkpoint_id from checkpoints order by checkpoint_id"
    kept = await lab.rows(made)
    assert [run_id for run_id, _ in kept] == [str(run.run_id) for run in runs]
    again = await lab.run(
        engine, "line", runs[0].thread_id, input={"folder": str(lab.make_folder())}, checkpoint_id=kept[0][1]
    )
    assert again.status == "success"
    assert (await lab.values(runs[0].thread_id))["log"] == ["a", "b", "c"] * 2


async def test_the_thread_of_a_stateless_run_stays_as_long_as_was_set(lab: Laboratory) -> None:
    engine = await lab.open(keep=KeepSettings(stateless=timedelta(hours=1)))
    folder = str(lab.make_folder())
    run = await lab.run(engine, "line", input={"folder": folder}, hidden_thread=True)
    stays = "select extract(epoch from t.expires_at - r.ended_at) from threads t join runs r using (thread_id)"
    assert 3595 < await lab.value(stays) < 3605
    await Sweep(engine.pool).sweep()
    assert await lab.status(run) == "success"


async def test_a_thread_at_work_keeps_its_checkpoints_until_it_rests(lab: Laboratory) -> None:
    engine = await lab.open()
    old = await finish(lab, engine)
    run, folder = await begin(lab, engine, old.thread_id)
    await lab.until_traced(folder, "b started")
    assert await drain(engine.retention.expiry.thin_checkpoints, await now(lab)) == 0
    open_gate(folder, "b")
    assert await lab.until_status(run, "success", "error") == "success"
    assert await drain(engine.retention.expiry.thin_checkpoints, await now(lab)) == 1
    assert await lab.value("select count(*) from checkpoints") == 1


async def test_a_long_thread_is_thinned_out_in_several_transactions(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "CHECKPOINTS", 2)
    engine = await lab.open()
    await finish(lab, engine, "long")
    assert await drain(engine.retention.expiry.thin_checkpoints, await now(lab)) == 5
    assert await lab.value("select count(*) from checkpoints") == 1
    assert engine.retention.expiry.removed["checkpoints"] == 9


def test_the_ids_of_checkpoints_are_compared_by_the_time_in_them() -> None:
    from langgraph.checkpoint.base.id import uuid6

    begun = datetime.now(UTC)
    made = str(uuid6())
    assert first_checkpoint_id(begun - timedelta(milliseconds=1)) <= made
    assert made < first_checkpoint_id(begun + timedelta(minutes=1))
