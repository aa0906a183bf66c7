"""Owns the proof that a thread's state reads as clients expect it, with its graph and without."""

import sys
from pathlib import Path
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import id as checkpoint_ids

from threadline.checkpoints.pool import Pool
from threadline.runs.errors import CheckpointNotFound, Invalid, ThreadNotFound, UnknownGraph
from threadline.runs.model import JsonObject
from threadline.tests.runs.state_world import GRAPHS, World, as_json

EMPTY: JsonObject = {
    "values": {},
    "next": [],
    "tasks": [],
    "metadata": None,
    "created_at": None,
    "checkpoint": None,
    "parent_checkpoint": None,
    "interrupts": [],
    "checkpoint_id": None,
    "parent_checkpoint_id": None,
}


@pytest.fixture
async def world(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(sys, "path", sys.path[:])  # the folder of a served project is put there
    return World(pool, tmp_path)


async def test_a_thread_never_run_has_an_empty_state(world: World) -> None:
    bare = await world.threads.create()
    assert as_json(await world.states.get(bare.thread_id)) == EMPTY
    assert as_json(await world.states.get(await world.start())) == EMPTY
    assert await world.states.history(bare.thread_id) == []


async def test_a_thread_that_does_not_exist_has_no_state(world: World) -> None:
    unknown = uuid4()
    for refused in (
        world.states.get(unknown),
        world.states.history(unknown),
        world.states.update(unknown, {}),
        world.states.bulk_update(unknown, [{"updates": [{}]}]),
    ):
        with pytest.raises(ThreadNotFound):
            await refused


async def test_results_that_cannot_be_taken_together_leave_the_state_that_they_started_from(world: World) -> None:
    thread_id = await world.start("clashing", n=1, mode="fail")
    state = as_json(await world.states.get(thread_id))
    assert state["values"] == {"n": 1, "mode": "fail", "log": []}
    assert sorted(state["next"]) == ["left", "right"]
    assert state == as_json(await world.states.history(thread_id))[0]


async def test_a_finished_run_leaves_a_state_of_the_wire_shape(world: World) -> None:
    thread_id = await world.start(n=1)

    state = as_json(await world.states.get(thread_id))

    assert state["values"] == {"n": 1, "log": ["plan", "act"]}
    assert (state["next"], state["tasks"], state["interrupts"]) == ([], [], [])
    assert (state["metadata"]["source"], state["metadata"]["step"]) == ("loop", 2)
    assert state["created_at"].endswith("+00:00")
    assert state["checkpoint"] == {
        "checkpoint_id": state["checkpoint_id"],
        "thread_id": str(thread_id),
        "checkpoint_ns": "",
    }
    assert state["parent_checkpoint"]["checkpoint_id"] == state["parent_checkpoint_id"] < state["checkpoint_id"]
    assert state.keys() == EMPTY.keys()


async def test_an_interrupt_shows_in_next_tasks_and_interrupts(world: World) -> None:
    thread_id = await world.start(mode="ask")

    state = as_json(await world.states.get(thread_id))

    [asked] = state["interrupts"]
    assert asked == {"id": asked["id"], "value": {"q": "ok?"}}
    assert state["next"] == ["act"]
    [task] = state["tasks"]
    assert task == {
        "id": task["id"],
        "name": "act",
        "path": ["__pregel_pull", "act"],
        "error": None,
        "interrupts": [asked],
        "checkpoint": None,
        "state": None,
        "result": None,
    }


async def test_a_failed_node_shows_its_error(world: World) -> None:
    state = as_json(await world.states.get(await world.start(mode="fail")))

    assert state["next"] == ["act"]
    assert state["tasks"][0]["error"] == "ValueError('kaboom')"


async def test_a_subgraph_is_pointed_at_or_shown_as_asked(world: World) -> None:
    thread_id = await world.start("nested", mode="ask")

    pointed = as_json(await world.states.get(thread_id))["tasks"][0]
    shown = as_json(await world.states.get(thread_id, subgraphs=True))["tasks"][0]

    assert pointed["checkpoint"] == {"thread_id": str(thread_id), "checkpoint_ns": f"sub:{pointed['id']}"}
    assert pointed["state"] is None
    assert shown["checkpoint"] is None
    assert shown["state"]["next"] == ["act"]
    assert shown["state"]["interrupts"] == pointed["interrupts"] != []
    assert as_json(await world.states.get(thread_id, pointed["checkpoint"])) == shown["state"]


async def test_messages_are_shown_as_clients_expect_them(world: World) -> None:
    thread_id = await world.start("chat", messages=[("human", "hi")])

    messages = as_json(await world.states.get(thread_id))["values"]["messages"]

    assert [(message["type"], message["content"]) for message in messages] == [("human", "hi"), ("ai", "hello")]


async def test_a_state_is_read_at_a_checkpoint_however_it_is_named(world: World) -> None:
    thread_id = await world.start(n=1)
    latest, before = (await world.states.history(thread_id))[:2]
    assert before["next"] == ["act"]

    for reference in (
        before["checkpoint_id"],
        before["checkpoint"],
        {"checkpoint_id": before["checkpoint_id"]},
        {"configurable": before["checkpoint"]},
        {"checkpoint_id": before["checkpoint_id"], "thread_id": str(uuid4()), "checkpoint_map": None},
    ):
        assert await world.states.get(thread_id, reference) == before
    assert await world.states.get(thread_id, latest["checkpoint"]) == latest


async def test_a_checkpoint_that_does_not_exist_is_not_found(world: World) -> None:
    thread_id, unknown = await world.start(n=1), str(checkpoint_ids.uuid6())
    bare = await world.threads.create()

    for refused in (
        world.states.get(thread_id, unknown),
        world.states.get(bare.thread_id, unknown),
        world.states.update(thread_id, {"n": 2}, as_node="act", checkpoint=unknown),
    ):
        with pytest.raises(CheckpointNotFound, match=f"Checkpoint {unknown} of thread .* not found"):
            await refused


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ({"checkpoint_id": 5}, r"checkpoint\.checkpoint_id must be of type str, not 5"),
        ({"checkpoint_ns": "a\x00"}, r"checkpoint\.checkpoint_ns holds U\+0000"),
        ({"configurable": "x"}, "checkpoint must be"),
    ],
)
async def test_a_reference_that_is_none_is_refused(world: World, reference: JsonObject, complaint: str) -> None:
    thread_id = await world.start(n=1)
    with pytest.raises(Invalid, match=complaint):
        await world.states.get(thread_id, reference)


async def test_a_state_outlives_its_graph(world: World) -> None:
    thread_id = await world.start(n=1, note="kept")
    served = await world.states.get(thread_id)
    graphs = {"steps": "./gone.py:graph", "other": f"{GRAPHS}:chat"}

    for registry, reason in (
        (world.serve(graphs), r"Graph 'steps' could not be imported: gone.py"),
        (world.serve({"other": f"{GRAPHS}:chat"}), "There is no graph 'steps'; langgraph.json has: other"),
    ):
        states = world.states_of(registry)
        state = await states.get(thread_id)
        assert state["graph_error"].startswith(reason)
        assert state == served | {"graph_error": state["graph_error"]}
        history = await states.history(thread_id, limit=2)
        assert [past["checkpoint_id"] for past in history] == [state["checkpoint_id"], state["parent_checkpoint_id"]]
        assert history[1]["next"] == ["act"]
        with pytest.raises(UnknownGraph, match=reason[:20]):
            await states.update(thread_id, {"n": 2}, as_node="act")


async def test_a_thread_without_a_graph_shows_its_checkpoint_and_refuses_updates(world: World) -> None:
    thread = await world.threads.create()
    await world.run(thread.thread_id, {"n": 1})

    state = await world.states.get(thread.thread_id)

    assert (state["values"], state["next"]) == ({"n": 1, "log": ["plan", "act"]}, [])
    assert state["graph_error"].startswith("The thread has no graph")
    with pytest.raises(Invalid, match=f"Thread '{thread.thread_id}' has no assigned graph ID"):
        await world.states.update(thread.thread_id, {"n": 2})


async def test_a_factory_is_told_who_asks_and_its_classes_are_rebuilt(world: World) -> None:
    thread_id = await world.start("make_report", finding=None)
    await world.rows("""update threads set config = '{"recursion_limit": 9}' where thread_id = %s""", thread_id)
    fresh = world.states_of(world.serve())

    first_read = await fresh.get(thread_id)

    assert type(first_read["values"]["finding"]).__name__ == "Finding"
    assert as_json(first_read)["values"] == {"finding": {"text": "a"}}
    await fresh.update(thread_id, {"finding": None}, as_node=f"threads.update {thread_id} 9")
    assert as_json(await fresh.get(thread_id))["values"] == {"finding": None}


async def test_the_history_is_newest_first_and_can_be_narrowed(world: World) -> None:
    thread_id = await world.start(n=1)
    everything = await world.states.history(thread_id)
    ids = [state["checkpoint_id"] for state in everything]

    assert ids == sorted(ids, reverse=True)
    assert [state["next"] for state in everything] == [[], ["act"], ["plan"], ["__start__"]]
    assert await world.states.history(thread_id, limit=1) == everything[:1]
    for before in (ids[1], {"checkpoint_id": ids[1]}, {"configurable": {"checkpoint_id": ids[1]}}):
        assert await world.states.history(thread_id, before=before) == everything[2:]
    assert await world.states.history(thread_id, metadata={"source": "input"}) == everything[3:]
    assert await world.states.history(thread_id, checkpoint={"checkpoint_id": ids[2]}) == everything[2:3]


async def test_the_history_of_a_subgraph_is_its_own(world: World) -> None:
    thread_id = await world.start("nested", mode="ask")
    [task] = (await world.states.get(thread_id))["tasks"]

    inner = await world.states.history(thread_id, checkpoint=task["checkpoint"])

    assert [state["next"] for state in inner] == [["act"], ["plan"], ["__start__"]]
    assert {state["checkpoint"]["checkpoint_ns"] for state in inner} == {task["checkpoint"]["checkpoint_ns"]}


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 1001}, {"before": {"checkpoint_ns": ""}}, {"metadata": {"a": "\x00"}}]
)
async def test_a_history_that_makes_no_sense_is_refused(world: World, wrong: JsonObject) -> None:
    with pytest.raises(Invalid, match=next(iter(wrong))):
        await world.states.history(await world.start(n=1), **wrong)
