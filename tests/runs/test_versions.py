"""Old threads meet new code: what goes on, what is refused, what is moved over, and who may do it during a deploy."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from threadline.checkpoints.pool import Database
from threadline.runs.errors import VersionPinned
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
MOVE = """
def migrate(values, change):
    return Command(update={"log": [*values["log"], "moved"]}, goto="question") if "ask" in change["gone"] else None
"""


@pytest.fixture
async def deploys(database: Database, tmp_path: Path) -> AsyncIterator[Deploys]:
    async for made in open_deploys(database, tmp_path):
        yield made


async def test_every_checkpoint_and_attempt_says_which_version_made_it(deploys: Deploys) -> None:
    world, run = await deploys.pause()
    await resume(world, run)
    stamp = world.registry.stamp("agent")
    assert set(stamp) == {"graph_id", "topology_hash", "code_hash"}
    found = await deploys.checkpoints(run.thread_id)
    assert len(found) == 5
    assert all(stamp.items() <= metadata.items() for metadata in found)
    assert stamp.items() <= (await opening(world, run)).items()


async def test_a_state_that_a_client_writes_is_of_the_version_that_took_it(deploys: Deploys) -> None:
    world, run = await deploys.pause()
    await world.engine.states.update(run.thread_id, {"log": ["written"]}, as_node="ask")
    assert world.registry.stamp("agent").items() <= (await deploys.checkpoints(run.thread_id))[-1].items()


async def test_a_thread_goes_on_with_new_code_that_still_has_its_next_node(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    await deploys.stop(old)
    new = await deploys.start(EXTENDED)
    again, values = await resume(new, run)
    assert values["log"] == ["in", "plan", "ask=yes", "act", "report"]
    assert await new.status(again) == "success"


async def test_a_run_fails_by_name_when_the_next_node_is_gone_instead_of_ending_with_nothing_done(
    deploys: Deploys,
) -> None:
    old, run = await deploys.pause()
    await deploys.stop(old)
    new = await deploys.start(RENAMED)
    for kwargs in ({"command": {"resume": "yes"}}, {"input": None}):
        again, answer = await go_on(new, run, kwargs)
        assert answer["__error__"]["error"] == "PendingNodesGone"
        assert (
            f"Thread {run.thread_id} waits for 'ask', which the graph no longer has" in answer["__error__"]["message"]
        )
        assert "node ask is gone; node question is new" in answer["__error__"]["message"]
        assert await new.status(again) == "error"
    assert len(await deploys.checkpoints(run.thread_id)) == 3


async def test_a_stranded_thread_can_begin_anew_or_elsewhere(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    _, other = await deploys.pause()
    await deploys.stop(old)
    new = await deploys.start(RENAMED)
    _, values = await go_on(new, run, {"command": {"goto": "act"}})
    assert values["log"] == ["in", "plan", "act"]
    _, values = await go_on(new, other, {"input": {"log": ["anew"]}})
    assert values["log"] == ["in", "plan", "anew", "plan"]


async def test_a_thread_from_before_there_were_versions_is_judged_by_its_next_node(deploys: Deploys) -> None:
    old, run = await deploys.pause(keys=PINNED)
    await deploys.stop(old)
    await deploys.rows("update checkpoints set metadata = metadata - 'topology_hash' - 'code_hash'")
    new = await deploys.start(RENAMED, keys=PINNED)
    _, answer = await resume(new, run)
    assert answer["__error__"]["error"] == "PendingNodesGone"
    await deploys.stop(new)
    newer = await deploys.start(EXTENDED, keys=PINNED)
    _, values = await resume(newer, run)
    assert values["log"][-1] == "report"


async def test_a_run_on_a_pinned_thread_is_refused_when_it_is_created(deploys: Deploys) -> None:
    old, run = await deploys.pause(keys=PINNED)
    await deploys.stop(old)
    new = await deploys.start(RENAMED, keys=PINNED)
    with pytest.raises(VersionPinned) as caught:
        await resume(new, run)
    for told in (
        old.registry.stamp("agent")["topology_hash"],
        new.registry.stamp("agent")["topology_hash"],
        "node ask is gone",
        "node question is new",
    ):
        assert told in str(caught.value)
    assert len(await new.engine.queue.list(run.thread_id)) == 1


async def test_a_pinned_thread_goes_on_with_the_same_shape_and_other_code(deploys: Deploys) -> None:
    old, run = await deploys.pause(keys=PINNED)
    await deploys.stop(old)
    new = await deploys.start(f"# changed\n{ASKING}", keys=PINNED)
    assert old.registry.stamp("agent")["code_hash"] != new.registry.stamp("agent")["code_hash"]
    _, values = await resume(new, run)
    assert values["log"] == ["in", "plan", "ask=yes", "act"]


async def test_a_state_update_moves_a_pinned_thread_over(deploys: Deploys) -> None:
    old, run = await deploys.pause(keys=PINNED)
    await deploys.stop(old)
    new = await deploys.start(RENAMED, keys=PINNED)
    await new.engine.states.update(run.thread_id, {"log": ["by hand"]}, as_node="question")
    _, values = await go_on(new, run, {"input": None})
    assert values["log"] == ["in", "plan", "by hand", "act"]


async def test_a_thread_is_moved_over_once_by_the_projects_function(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    await deploys.stop(old)
    new = await deploys.start(RENAMED, migrate=MOVE)
    again, values = await resume(new, run)
    assert values["log"] == ["in", "plan", "moved", "question=yes", "act"]
    moved = [each for each in await deploys.checkpoints(run.thread_id) if "migrated_from" in each]
    assert len(moved) == 1
    assert moved[0]["migrated_from"] == old.registry.stamp("agent")["topology_hash"]
    assert moved[0]["migrated_by"] == str(again.run_id)
    assert moved[0]["topology_hash"] == new.registry.stamp("agent")["topology_hash"]
    _, values = await go_on(new, run, {"input": {"log": ["more"]}})
    assert values["log"].count("moved") == 1


async def test_what_a_migration_raises_is_why_the_run_ends_and_nothing_is_changed(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    await deploys.stop(old)
    new = await deploys.start(RENAMED, migrate="def migrate(values, change):\n    raise KeyError('unheard of')")
    again, answer = await resume(new, run)
    assert answer["__error__"]["error"] == "MigrationFailed"
    assert answer["__error__"]["message"] == "`migrate` of graph 'agent': KeyError: 'unheard of'"
    assert await new.status(again) == "error"
    assert len(await deploys.checkpoints(run.thread_id)) == 3
    assert await new.thread_status(run) == "error"


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("{'lgo': []}", "the graph's state has no 'lgo'; it has: log, name"),
        ("Command(goto='nowhere')", "the graph has no node 'nowhere' to go to"),
        ("7", "it must return values as a dict, a Command, or None, not int"),
        ("{'name': object()}", "cannot be stored"),
        ("{'log': ['kept']}", "`migrate` left the thread waiting for 'ask', which the graph no longer has"),
    ],
)
async def test_what_the_graph_cannot_take_from_a_migration_is_told(deploys: Deploys, returned: str, told: str) -> None:
    old, run = await deploys.pause()
    await deploys.stop(old)
    new = await deploys.start(RENAMED, migrate=f"def migrate(values, change):\n    return {returned}")
    _, answer = await resume(new, run)
    assert answer["__error__"]["error"] == "MigrationFailed"
    assert told in answer["__error__"]["message"]


async def test_a_thread_whose_graph_has_gone_still_shows_what_it_waits_for_and_its_past(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    before = await old.engine.states.get(run.thread_id)
    await deploys.stop(old)
    new = await deploys.start(ASKING, name="renamed")
    state = await new.engine.states.get(run.thread_id)
    assert state["graph_error"].startswith("There is no graph 'agent'")
    for key in ("values", "next", "interrupts", "metadata", "checkpoint", "created_at"):
        assert state[key] == before[key]
    assert (state["next"], state["values"]) == (["ask"], {"log": ["in", "plan"]})
    history = await new.engine.states.history(run.thread_id)
    assert [each["next"] for each in history] == [["ask"], ["plan"], []]
