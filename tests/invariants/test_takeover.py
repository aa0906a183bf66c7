"""Invariants 1, 3 and 8 when a worker is killed: its runs go on elsewhere, and committed work is done and told once."""

import asyncio
from typing import Any

import pytest

from threadline.runs.model import RunStatus
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, read, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.stories import (
    STORIES,
    Telling,
    begin,
    count_effects,
    finish,
    last_attempt,
    note_committed,
    reports,
    tokens_repeat_only_behind_metadata,
)

MODES = ["values", "updates", "messages-tuple", "custom"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_runs_of_a_killed_worker_go_on_and_committed_work_is_done_and_told_once(
    lab: Laboratory, durability: str
) -> None:
    """One process is killed with a run at each place of each graph; another takes all of them up."""
    how: dict[str, Any] = {"durability": durability, "stream_mode": MODES, "subgraphs": True}
    door = await lab.open(executes=False)
    doomed = await lab.start()
    tellings = await asyncio.gather(*[begin(lab, door, story, **how) for story in STORIES])
    await until(lambda: nothing_pending(lab, durability, tellings), "what the nodes before led to is written")
    doomed.kill()
    for telling in tellings:
        await note_committed(lab, telling)
    survivor = await lab.open()
    await lab.make_steady()
    for telling in tellings:
        open_gate(telling.folder, telling.story.gate)
    await asyncio.gather(*[finish(lab, survivor, telling, **how) for telling in tellings])
    calm = {story.name: await begin(lab, survivor, story, undisturbed=True, **how) for story in STORIES}
    for telling in tellings:
        other = calm[telling.story.name]
        await finish(lab, survivor, other, **how)
        await compare(lab, telling, other, durability)


async def nothing_pending(lab: Laboratory, durability: str, tellings: list[Telling]) -> bool:
    """Whether every node that has done its work has its writes stored, where they are stored on the way."""
    if durability == "exit":
        return True
    for telling in tellings:
        await note_committed(lab, telling)
        done = {line.split(" ")[0] for line in trace(telling.folder) if line.endswith(" done")}
        if not done <= telling.committed:
            return False
    return True


async def compare(lab: Laboratory, told: Telling, calm: Telling, durability: str) -> None:
    """The killed run against one that was left in peace."""
    name = told.story.name
    events, calm_events = await lab.log(told.thread_id), await lab.log(calm.thread_id)
    assert [await lab.status(run) for run in told.runs] == ["success"] * len(told.runs), name
    assert count_effects(told) == [], name
    assert set(trace(told.folder)) == set(trace(calm.folder)), name
    attempts = [read(event)["attempt"] for event in events if event.name == "metadata"]
    assert attempts.count(2) == 1, name
    assert set(attempts) == {1, 2}, name
    assert tokens_repeat_only_behind_metadata(events), name
    values, calm_values = await lab.values(told.thread_id), await lab.values(calm.thread_id)
    assert values["log"] == calm_values["log"], name
    if durability == "exit":
        # Nothing was committed: what the log said before, the next attempt's metadata event takes back.
        events = last_attempt(events)
    assert reports(events) == reports(calm_events), name


@pytest.mark.parametrize("times", [1, 2])
async def test_workers_killed_at_any_moment_under_load_lose_nothing_and_repeat_nothing_committed(
    lab: Laboratory, times: int
) -> None:
    """No gates: whatever a hundred runs are at when the signal comes."""
    door = await lab.open(executes=False)
    folders = [lab.make_folder() for _ in range(100)]
    graph_ids = ["line", "fork", "nested", "talking"]
    how: dict[str, Any] = {"stream_mode": MODES, "subgraphs": True}
    doomed = await lab.start(concurrency=20)
    runs = [
        await door.queue.create(
            lab.request(
                graph_ids[number % 4],
                input={"folder": str(folder), "log": []},
                durability=["sync", "async"][number % 8 // 4],
                **how,
            )
        )
        for number, folder in enumerate(folders)
    ]
    ended = 10
    for _ in range(times):

        async def some_have_ended(least: int) -> bool:
            return bool(await lab.value("select count(*) >= %s from runs where end_seq is not null", least))

        await until(lambda least=ended: some_have_ended(least), "some runs have ended")  # type: ignore[misc]  # a default in a lambda
        doomed.kill()
        ended += 10
        survivor = await lab.start(concurrency=20)
        doomed = survivor
        await lab.make_steady()
    await asyncio.gather(*[door.tails.result(run) for run in runs])
    calm = {}
    for graph_id in graph_ids:
        run = await door.queue.create(lab.request(graph_id, input={"folder": str(lab.make_folder()), "log": []}, **how))
        await door.tails.result(run)
        calm[graph_id] = reports(await lab.log(run.thread_id))
    for folder, run in zip(folders, runs, strict=True):
        ended_run = await door.queue.get(run.thread_id, run.run_id)
        assert ended_run.status is RunStatus.SUCCESS
        events = await lab.log(run.thread_id)
        assert reports(events) == calm[run.graph_id]
        assert tokens_repeat_only_behind_metadata(events)
        assert max(trace(folder).values()) <= ended_run.attempt
