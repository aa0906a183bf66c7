"""Owns the proof that a state changes as a whole or not at all, and never beside a run."""

import asyncio
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from langgraph.checkpoint.base import id as checkpoint_ids

from threadline.checkpoints.clock import checkpoint_timestamp
from threadline.checkpoints.pool import Pool
from threadline.runs import state_updates
from threadline.runs.errors import Invalid, InvalidState, ThreadBusy
from threadline.runs.model import STATE_UPDATED, JsonObject, ThreadStatus
from threadline.runs.state_updates import NO_RUN
from threadline.tests.runs.state_world import World, as_json


@pytest.fixture
async def world(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(sys, "path", sys.path[:])  # the folder of a served project is put there
    return World(pool, tmp_path)


async def test_an_update_writes_as_a_node_and_leaves_the_rest_to_do(world: World) -> None:
    thread_id = await world.start(n=1)

    written = await world.states.update(thread_id, {"n": 5, "log": ["by hand"]}, as_node="plan")

    state = await world.states.get(thread_id)
    assert (state["values"], state["next"]) == ({"n": 5, "log": ["plan", "act", "by hand"]}, ["act"])
    assert state["metadata"]["source"] == "update"
    assert written == {
        "checkpoint": state["checkpoint"],
        "configurable": state["checkpoint"],
        "checkpoint_id": state["checkpoint_id"],
    }
    thread = await world.threads.get(thread_id)
    assert (thread.status, thread.values) == (ThreadStatus.INTERRUPTED, state["values"])
    assert thread.state_updated_at > thread.created_at
    await world.states.update(thread_id, {"n": 6}, as_node="act")
    assert (await world.threads.get(thread_id)).status is ThreadStatus.IDLE


async def test_an_update_is_an_event_behind_a_raised_fence(world: World) -> None:
    thread_id = await world.start(n=1)
    epoch, last_seq, _ = await world.head(thread_id)

    written = await world.states.update(thread_id, {"n": 5}, as_node="act")

    assert await world.head(thread_id) == (epoch + 1, last_seq + 1, True)
    [row] = await world.events(thread_id)
    [event] = row.events()
    assert (event.seq, event.name, event.run_id) == (last_seq + 1, STATE_UPDATED, NO_RUN)
    assert orjson.loads(event.data) == {
        "checkpoint": written["checkpoint"],
        "supersteps": [[{"values": {"n": 5}, "as_node": "act"}]],
        "status": "idle",
        "next": [],
        "values": {"n": 5, "log": ["plan", "act"]},
    }
    assert world.announced == [thread_id]


async def test_an_update_keeps_an_open_question_and_can_answer_for_it(world: World) -> None:
    thread_id = await world.start("nested", mode="ask")
    [task] = (await world.states.get(thread_id))["tasks"]
    await world.states.update(thread_id, {"n": 3}, as_node="plan")
    kept = await world.threads.get(thread_id)
    assert (kept.status, kept.error) == (ThreadStatus.INTERRUPTED, None)

    await world.states.update(thread_id, {"log": ["skipped"]}, as_node="sub")

    thread = await world.threads.get(thread_id)
    assert (thread.status, thread.interrupts) == (ThreadStatus.IDLE, {})
    assert task["interrupts"]


async def test_an_interrupt_inside_a_subgraph_survives_an_update_of_that_subgraph(world: World) -> None:
    thread_id = await world.start("nested", mode="ask")
    [task] = (await world.states.get(thread_id))["tasks"]

    written = await world.states.update(thread_id, {"note": "seen"}, as_node="plan", checkpoint=task["checkpoint"])

    assert written["checkpoint"]["checkpoint_ns"] == task["checkpoint"]["checkpoint_ns"]
    inner = await world.states.get(thread_id, task["checkpoint"])
    assert (inner["values"]["note"], inner["next"]) == ("seen", ["act"])
    thread = await world.threads.get(thread_id)
    assert thread.status is ThreadStatus.INTERRUPTED
    assert thread.interrupts == {task["id"]: as_json(task["interrupts"])}


async def test_an_update_without_a_node_is_the_last_ones(world: World) -> None:
    thread_id = await world.start(mode="ask")

    await world.states.update(thread_id, {"mode": "go on"})

    assert (await world.states.get(thread_id))["next"] == ["act"]
    assert await world.states.history(thread_id, metadata={"source": "update"})


async def test_the_first_update_of_a_thread_starts_its_history(world: World) -> None:
    thread_id = await world.start()

    await world.states.update(thread_id, {"n": 1}, as_node="plan")

    assert (await world.states.get(thread_id))["next"] == ["act"]
    assert len(await world.states.history(thread_id)) == 1


async def test_an_update_of_an_older_checkpoint_is_a_fork_and_the_latest(world: World) -> None:
    thread_id = await world.start(n=1)
    older = (await world.states.history(thread_id))[1]

    await world.states.update(thread_id, {"n": 9}, as_node="plan", checkpoint=older["checkpoint"])

    state = await world.states.get(thread_id)
    assert state["parent_checkpoint_id"] == older["checkpoint_id"]
    assert (state["values"]["n"], state["next"]) == (9, ["act"])


async def test_messages_given_as_json_become_messages(world: World) -> None:
    thread_id = await world.start("chat")

    await world.states.update(thread_id, {"messages": [{"role": "user", "content": "hi"}]}, as_node="answer")

    thread = await world.threads.get(thread_id)
    assert [(message["type"], message["content"]) for message in thread.values["messages"]] == [("human", "hi")]


@pytest.mark.parametrize(
    ("graph_id", "values", "as_node", "complaint"),
    [
        ("steps", {"n": 1}, "zzz", "^Node zzz does not exist$"),
        ("steps", [1, 2], "plan", "Expected dict, got"),
        ("steps", {"log": 5}, "plan", "^TypeError: "),
        ("chat", {"messages": [{"role": "nobody", "content": "x"}]}, "answer", "^ValueError: "),
        ("steps", {"n": 1}, 7, "as_node must name a node, not 7"),
    ],
)
async def test_an_update_the_graph_refuses_changes_nothing(
    world: World, graph_id: str, values: Any, as_node: Any, complaint: str
) -> None:
    thread_id = await world.start(graph_id)
    before = await world.trace(thread_id)

    with pytest.raises(Invalid, match=complaint):
        await world.states.update(thread_id, values, as_node=as_node)

    assert await world.trace(thread_id) == before
    assert world.announced == []


async def test_an_update_that_cannot_be_recorded_leaves_no_checkpoint(world: World) -> None:
    thread_id = await world.start(n=1)
    before = await world.trace(thread_id)
    await world.rows("alter table run_events add constraint full_disk check (first_seq < 0)")

    with pytest.raises(psycopg.errors.CheckViolation):
        await world.states.update(thread_id, {"n": 2}, as_node="act")

    assert await world.trace(thread_id) == before


async def test_an_update_that_never_ends_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    thread_id = await world.start("hanging")
    before = await world.trace(thread_id)
    monkeypatch.setattr(state_updates, "UPDATE_TIMEOUT", 0.05)

    with pytest.raises(InvalidState, match=r"longer than 0\.05 s"):
        await world.states.update(thread_id, {"n": 2}, as_node="plan")

    assert await world.trace(thread_id) == before


async def test_a_lone_surrogate_does_not_stop_an_update(world: World) -> None:
    thread_id = await world.start(n=1)

    await world.states.update(thread_id, {"note": "a\ud800b"}, as_node="act")

    assert (await world.threads.get(thread_id)).values["note"] == "a?b"


async def test_a_text_with_nul_is_a_state_like_any_other(world: World) -> None:
    thread_id = await world.start(n=1)

    await world.states.update(thread_id, {"note": "a\x00b"}, as_node="act")

    assert (await world.states.get(thread_id))["values"]["note"] == "a\x00b"
    assert (await world.threads.get(thread_id)).values["note"] == "a\x00b"


async def test_a_thread_with_runs_in_flight_refuses_updates(world: World) -> None:
    thread_id = await world.start(n=1)
    await world.rows("update thread_heads set inflight = 1 where thread_id = %s", thread_id)
    before = await world.trace(thread_id)

    with pytest.raises(ThreadBusy):
        await world.states.update(thread_id, {"n": 2}, as_node="act")

    assert await world.trace(thread_id) == before


async def test_an_update_that_waited_for_a_run_to_be_accepted_is_refused(world: World, dsn: str) -> None:
    thread_id = await world.start(n=1)
    async with await psycopg.AsyncConnection.connect(dsn) as accepting:
        await accepting.execute("update thread_heads set inflight = 1 where thread_id = %s", [thread_id])
        updating = asyncio.create_task(world.states.update(thread_id, {"n": 2}, as_node="act"))
        async with asyncio.timeout(20):
            while not await world.rows(
                "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            ):
                pass
        await accepting.commit()

        with pytest.raises(ThreadBusy):
            await updating


async def test_updates_at_the_same_time_follow_each_other(world: World) -> None:
    thread_id = await world.start(n=1)
    first = (await world.states.get(thread_id))["checkpoint_id"]

    written = await asyncio.gather(
        *(world.states.update(thread_id, {"log": [str(n)]}, as_node="act") for n in range(6))
    )

    history = await world.states.history(thread_id, limit=7)
    assert sorted(history[0]["values"]["log"][2:]) == list("012345")
    assert {state["checkpoint_id"] for state in history} == {first, *(new["checkpoint_id"] for new in written)}
    for newer, older in pairwise(history):
        assert newer["parent_checkpoint_id"] == older["checkpoint_id"]
    assert [row.last_seq for row in await world.events(thread_id)] == [1, 2, 3, 4, 5, 6]


async def test_a_clock_that_is_behind_does_not_hide_an_update(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    an_hour_ahead = checkpoint_timestamp(str(checkpoint_ids.uuid6())) + 36_000_000_000
    monkeypatch.setattr(checkpoint_ids, "_last_v6_timestamp", an_hour_ahead)
    thread_id = await world.start(n=1)
    latest = (await world.states.get(thread_id))["checkpoint_id"]
    monkeypatch.setattr(checkpoint_ids, "_last_v6_timestamp", None)

    written = await world.states.update(thread_id, {"n": 2}, as_node="act")

    assert written["checkpoint_id"] > latest
    assert (await world.states.get(thread_id))["values"]["n"] == 2


async def test_supersteps_make_a_thread_that_was_never_run(world: World) -> None:
    thread_id = await world.start()
    supersteps: list[JsonObject] = [
        {"updates": [{"values": {"n": 1, "mode": "ask"}, "command": None, "as_node": "__input__"}]},
        {"updates": [{"values": {"n": 1, "mode": "ask"}, "as_node": "__start__"}]},
        {"updates": [{"values": {"log": ["thought"]}, "as_node": "plan"}]},
    ]

    written = await world.states.bulk_update(thread_id, supersteps)

    state = await world.states.get(thread_id)
    assert state["checkpoint_id"] == written["checkpoint_id"]
    assert (state["values"], state["next"]) == ({"n": 1, "mode": "ask", "log": ["thought"]}, ["act"])
    assert (await world.threads.get(thread_id)).status is ThreadStatus.INTERRUPTED
    [row] = await world.events(thread_id)
    assert len(row.contents) == 1


async def test_a_superstep_may_be_a_command(world: World) -> None:
    thread_id = await world.start("jumping")
    command = {"update": {"n": 2}, "goto": ["act"]}

    await world.states.bulk_update(thread_id, [{"updates": [{"values": None, "command": command, "as_node": "jump"}]}])

    state = await world.states.get(thread_id)
    assert (state["values"], state["next"]) == ({"n": 2, "log": []}, ["act"])


@pytest.mark.parametrize(
    ("supersteps", "complaint"),
    [
        ([], "No supersteps provided"),
        ([{"updates": []}], "No updates provided"),
        ([{}], "a superstep must be"),
        ([{"updates": ["x"]}], "a superstep must be"),
        ([{"updates": [{"values": {"n": 1}, "as_node": "plan"}]}, {"updates": [{"as_node": "zzz"}]}], "Node zzz"),
        ([{"updates": [{"command": {"goto": 5}, "as_node": "plan"}]}], "goto must name nodes"),
        ([{"updates": [{"command": "x", "as_node": "plan"}]}], "command must be an object"),
    ],
)
async def test_supersteps_are_applied_all_or_none(world: World, supersteps: Any, complaint: str) -> None:
    thread_id = await world.start()
    before = await world.trace(thread_id)

    with pytest.raises(Invalid, match=complaint):
        await world.states.bulk_update(thread_id, supersteps)

    assert await world.trace(thread_id) == before
