"""The tests of the invariants can fail: with a guard removed from our own SQL or code, each finds the violation."""

import asyncio
from typing import Any

import pytest

from threadline.checkpoints import writer
from threadline.checkpoints.buffer import BULK_BYTES, Entry, Fence, RunBuffer
from threadline.checkpoints.run_saver import RunSaver
from threadline.checkpoints.statements import make_positional
from threadline.runs import state_updates
from threadline.tests.laboratory.checks import append_side_by_side, read_ledger
from threadline.tests.laboratory.laboratory import Laboratory
from threadline.tests.laboratory.writing import FLUSH, QUEUE, count_rows, make_checkpoint, open_writer, seed_run


def remove_from_flush(monkeypatch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> None:
    """Have the writer run its statement with these parts replaced."""
    text: Any = FLUSH["flush"]
    for guard, instead in changes:
        assert guard in text, f"the flush has another guard now: adapt this test to it, {guard!r} is gone"
        text = text.replace(guard, instead)
    monkeypatch.setattr(writer, "_FLUSH", make_positional(text))


async def write_behind_a_reclaim(lab: Laboratory) -> list[str]:
    """Let a stale run write, and return what of it was let through."""
    fence = await seed_run(lab)
    async with open_writer(lab.database()) as bench:
        connection = await lab.connect()
        await connection.execute(QUEUE["reap"], {"max_attempts": 5, "steady": True, "calm": False})
        buffer = bench.open(fence)
        await asyncio.gather(buffer.committed(buffer.add(make_checkpoint("stale"))), return_exceptions=True)
    return [table for table, count in (await count_rows(lab, fence)).items() if count]


async def test_without_the_fence_a_stale_run_writes(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await write_behind_a_reclaim(lab) == []
    fence = "m on h.thread_id = m.thread_id and h.run_id = m.run_id and h.epoch = m.epoch"
    remove_from_flush(monkeypatch, (fence, "m on h.thread_id = m.thread_id"))
    assert "checkpoints" in await write_behind_a_reclaim(lab)


async def test_without_the_lock_numbers_collide_or_leave_holes(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await append_side_by_side(lab) == []
    newest = "(select coalesce(max(e.last_seq), 0) from run_events e where e.thread_id = h.thread_id)"
    remove_from_flush(
        monkeypatch,
        # Numbers from the log as the statement found it, and no lock but that of the update itself.
        ("order by h.thread_id\n    for no key update of h\n", ""),
        ("set last_seq = h.last_seq + head.events", f"set last_seq = {newest} + head.events"),
    )
    assert await append_side_by_side(lab) != []


async def find_split_reports(lab: Laboratory) -> list[str]:
    engine = await lab.open()
    run = await lab.run(engine, "fork", input={"folder": str(lab.folder), "log": []})
    return (await read_ledger(lab, run.thread_id)).violations()


def write_entries_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in one entry is not in one transaction by luck either."""

    def take_one(self: RunBuffer, max_bytes: int, max_rows: int) -> tuple[list[Entry], int, int]:
        return take(self, 0, 1)

    take = RunBuffer.take
    monkeypatch.setattr(RunBuffer, "take", take_one)


async def test_with_events_in_a_flush_of_their_own_they_lie_apart_from_their_writes(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await find_split_reports(lab) == []

    def add_event_alone(self: RunBuffer, name: str, data: bytes, *, bound: bool = False) -> None:
        entry = Entry()
        entry.add_event(name, data)
        self.add(entry)

    monkeypatch.setattr(RunBuffer, "add_event", add_event_alone)
    write_entries_one_by_one(monkeypatch)
    violations = await find_split_reports(lab)
    assert any("two transactions" in violation for violation in violations)


async def test_with_values_that_do_not_wait_they_lie_apart_from_their_checkpoint(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entries_one_by_one(monkeypatch)
    assert await find_split_reports(lab) == []
    monkeypatch.setattr(RunSaver, "saves", lambda self, ns: False)
    assert any("without their values" in violation for violation in await find_split_reports(lab))


async def test_without_the_batch_number_a_repeated_flush_is_applied_twice(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy cuts the answer; the writer no longer asks whether the batch was committed."""
    from threadline.checkpoints.journal import Journal
    from threadline.tests.laboratory.proxy import open_proxy

    async def forget(self: Journal, connection: Any) -> bool:
        return False

    async def count_events(fence: Fence) -> int:
        return len(await lab.log(fence.thread_id))

    async def write_with_a_lost_answer() -> int:
        fence = await seed_run(lab)
        async with open_proxy(lab.dsn) as proxy, open_writer(lab.database(proxy.conninfo)) as bench:
            buffer = bench.open(fence)
            await buffer.committed(buffer.add(make_checkpoint("before")))
            proxy.lose_answer("put_checkpoints as")
            await buffer.committed(buffer.add(make_checkpoint("during")))
        return await count_events(fence)

    assert await write_with_a_lost_answer() == 2
    monkeypatch.setattr(Journal, "_was_committed", forget)
    assert await write_with_a_lost_answer() == 3


async def test_without_the_floor_a_late_clock_hides_the_newest_state(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_updates, "raise_checkpoint_floor", lambda checkpoint_id: None)
    await lab.start(clock_offset=10.0)
    engine = await lab.open(executes=False)
    run = await lab.run(engine, "line", input={"folder": str(lab.folder), "log": []})
    await engine.states.update(run.thread_id, {"log": ["late"]}, as_node="c")
    assert (await engine.states.get(run.thread_id))["values"]["log"] == ["a", "b", "c"]


def test_the_guards_are_where_these_tests_look_for_them() -> None:
    assert FLUSH["flush"].count("for no key update") == 1
    assert BULK_BYTES < writer.MAX_BYTES
