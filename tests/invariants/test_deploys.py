"""Old and new code side by side on one database, while a deploy is under way: who takes which run."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from threadline.checkpoints.pool import Database
from threadline.runs.errors import VersionPinned
from threadline.runs.model import Run
from threadline.tests.runs.version_world import (
    ASKING,
    EXTENDED,
    RENAMED,
    Deploys,
    go_on,
    open_deploys,
    opening,
    resume,
)

PINNED = {"on_version_change": "pinned"}
MOVE = "def migrate(values, change):\n    return Command(goto='question')"
NEVER_BACK = "def migrate(values, change):\n    raise ValueError('taken back')"


@pytest.fixture
async def deploys(database: Database, tmp_path: Path) -> AsyncIterator[Deploys]:
    async for made in open_deploys(database, tmp_path):
        yield made


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is left to another process is offered again soon."""
    monkeypatch.setattr("threadline.runs.execution.WAIT_SECONDS", 0.05)


async def test_a_run_of_a_pinned_thread_is_left_to_the_process_that_has_its_version(deploys: Deploys) -> None:
    old, run = await deploys.pause(keys=PINNED)
    new = await deploys.start(RENAMED, keys=PINNED)
    again, values = await resume(new, run)
    assert values["log"] == ["in", "plan", "ask=yes", "act"]
    told = await opening(new, again)
    assert told["process_id"] == str(old.engine.process_id)
    assert told["topology_hash"] == old.registry.stamp("agent")["topology_hash"]
    assert (await new.engine.queue.get(run.thread_id, again.run_id)).failures == 0


async def test_once_that_process_has_gone_the_run_is_refused(deploys: Deploys) -> None:
    old, run = await deploys.pause(keys=PINNED)
    new = await deploys.start(RENAMED, keys=PINNED)
    late = new.ask_for("agent", thread_id=run.thread_id, kwargs={"input": None}, delay=timedelta(seconds=3))
    waiting = await new.engine.queue.create(late)
    await deploys.stop(old)
    answer = await new.answer(waiting)
    assert answer["__error__"]["error"] == "VersionPinned"
    assert "node ask is gone" in answer["__error__"]["message"]
    with pytest.raises(VersionPinned):
        await resume(new, run)


async def test_a_run_whose_next_node_is_gone_here_is_left_to_a_process_that_has_it(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    new = await deploys.start(RENAMED)
    again, values = await resume(new, run)
    assert values["log"] == ["in", "plan", "ask=yes", "act"]
    assert (await opening(new, again))["process_id"] == str(old.engine.process_id)


async def test_old_code_does_not_take_back_what_new_code_has_moved(deploys: Deploys) -> None:
    first, run = await deploys.pause(migrate=NEVER_BACK)
    await deploys.stop(first)
    new = await deploys.start(RENAMED, migrate=MOVE)
    await resume(new, run)
    old = await deploys.start(ASKING, migrate=NEVER_BACK)  # one that was still to be replaced, and crashed
    for _ in range(6):
        again, values = await go_on(old, run, {"input": {"log": ["more"]}})
        assert values["log"][-1] == "plan"
        assert (await opening(new, again))["process_id"] == str(new.engine.process_id)
        _, values = await resume(old, run)
        assert values["log"][-1] == "act"


async def hand_back(deploys: Deploys) -> Run:
    """Return a run that old code, which is gone, had to leave in the middle, before its node `hold` was done."""
    held = "import asyncio\nasync def hold(state):\n    await asyncio.sleep(3600)\n"
    old = await deploys.start(
        f"{held}graph = line(plan=step('plan'), hold=hold, act=step('act')).compile()", drain=timedelta(seconds=0.3)
    )
    run = await old.start("agent")
    await old.reach(run, ".node_finished")
    await deploys.stop(old)
    return run


async def test_a_run_that_was_handed_back_by_old_code_goes_on_in_new_code(deploys: Deploys) -> None:
    run = await hand_back(deploys)
    new = await deploys.start("graph = line(plan=step('plan'), hold=step('hold'), act=step('act')).compile()")
    values = await new.answer(run)
    assert values["log"] == ["in", "plan", "hold", "act"]


async def test_a_run_that_was_cut_off_is_told_when_new_code_lacks_its_next_node(deploys: Deploys) -> None:
    run = await hand_back(deploys)
    new = await deploys.start("graph = line(plan=step('plan'), act=step('act')).compile()")
    answer = await new.answer(run)
    assert answer["__error__"]["error"] == "PendingNodesGone"
    assert "'hold'" in answer["__error__"]["message"]


async def test_many_threads_are_moved_once_each_by_processes_that_race(deploys: Deploys) -> None:
    old = await deploys.start(ASKING)
    runs = [await old.start("agent") for _ in range(12)]
    await asyncio.gather(*(old.answer(run) for run in runs))
    await deploys.stop(old)
    one = await deploys.start(EXTENDED, migrate="def migrate(values, change):\n    return {'name': 'moved'}")
    other = await deploys.start(EXTENDED, migrate="def migrate(values, change):\n    return {'name': 'moved'}")
    found = await asyncio.gather(*(resume(one if number % 2 else other, run) for number, run in enumerate(runs)))
    for run, (_, values) in zip(runs, found, strict=True):
        assert values == {"log": ["in", "plan", "ask=yes", "act", "report"], "name": "moved"}
        assert len([each for each in await deploys.checkpoints(run.thread_id) if "migrated_from" in each]) == 1
