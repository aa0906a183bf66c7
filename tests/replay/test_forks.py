"""Forks: a new thread that begins where another one was, which stays as it is to the last byte."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from threadline.graphs.registry import Registry
from threadline.tests.replay.conftest import Past, make_registry, serve_past


def fork(past: Past, thread_id: str, checkpoint_id: str | None = None, **edits: Any) -> str:
    body = {"checkpoint_id": checkpoint_id, "set": edits}
    made: str = past.http.post(f"/threads/{thread_id}/fork", json=body).raise_for_status().json()["thread_id"]
    return made


def shown(state: Any) -> Any:
    """What of a state does not name its thread or its ids of tasks."""
    return {
        "values": state["values"],
        "next": state["next"],
        "interrupts": [each["value"] for each in state["interrupts"]],
        "checkpoint_id": state["checkpoint_id"],
        "parent_checkpoint_id": state["parent_checkpoint_id"],
    }


@pytest.mark.parametrize("graph", ["steps", "talking", "reporting", "parallel", "nested", "failing", "delta"])
def test_a_fork_is_at_every_checkpoint_what_its_source_was(past: Past, graph: str) -> None:
    thread_id, _, _ = past.run(graph, input={"messages": ["hello"]} if graph == "talking" else {"log": ["in"]})
    if graph in {"parallel", "nested"}:
        past.answer(thread_id, graph)
    before = past.bytes_of(thread_id)
    for state in past.history(thread_id):
        forked = past.history(fork(past, thread_id, state["checkpoint_id"]))
        assert shown(forked[-1]) == shown(state)
    assert past.bytes_of(thread_id) == before


@pytest.mark.parametrize("graph", ["steps", "parallel", "nested", "delta"])
def test_a_fork_that_is_run_comes_to_the_same_end_and_leaves_its_source_alone(past: Past, graph: str) -> None:
    thread_id, _, values = past.run(graph)
    if graph in {"parallel", "nested"}:
        _, _, values = past.answer(thread_id, graph)
    before = past.bytes_of(thread_id)
    for state in past.history(thread_id):
        forked = fork(past, thread_id, state["checkpoint_id"])
        _, _, reached = past.run(graph, forked, input=None)
        if "__interrupt__" in reached:
            _, _, reached = past.answer(forked, graph)
        assert reached == values
    assert past.bytes_of(thread_id) == before


def test_a_fork_names_its_origin(past: Past) -> None:
    thread_id = past.http.post("/threads", json={"metadata": {"team": "a"}}).json()["thread_id"]
    past.run("steps", thread_id)
    state = past.state(thread_id)
    thread = past.http.get(f"/threads/{fork(past, thread_id, n=5)}").json()
    came_from = {"thread_id": thread_id, "checkpoint_id": state["checkpoint_id"], "set": {"/n": 5}}
    assert thread["metadata"] == {
        "team": "a",
        "graph_id": "steps",
        "assistant_id": thread["metadata"]["assistant_id"],
        "forked_from": came_from,
    }
    assert thread["thread_id"] != thread_id
    found = past.http.post("/threads/search", json={"metadata": {"forked_from": {"thread_id": thread_id}}}).json()
    assert [each["thread_id"] for each in found] == [thread["thread_id"]]


@pytest.mark.parametrize("graph", ["asking", "nested", "parallel"])
def test_a_question_that_was_answered_is_open_again_in_a_fork(past: Past, graph: str) -> None:
    thread_id, _, _ = past.run(graph)
    [asked] = [state for state in past.history(thread_id) if state["interrupts"]]
    past.answer(thread_id, graph, "yes")
    forked = fork(past, thread_id, asked["checkpoint_id"])
    assert past.http.get(f"/threads/{forked}").json()["status"] == "interrupted"
    [question] = past.state(forked)["interrupts"]
    assert question["value"] == {"q": "go on?"}
    _, _, values = past.answer(forked, graph, "no")
    assert "answer no" in values["log"]
    assert "answer yes" not in values["log"]
    assert "answer yes" in past.state(thread_id)["values"]["log"]


def test_nodes_beside_the_one_that_asked_are_not_run_again(past: Past) -> None:
    thread_id, _, _ = past.run("parallel")
    [asked] = [state for state in past.history(thread_id) if state["interrupts"]]
    past.answer(thread_id, "parallel")
    forked = fork(past, thread_id, asked["checkpoint_id"])
    past.answer(forked, "parallel")
    entries = past.http.get(f"/threads/{forked}/timeline").json()
    goes = {node["name"]: node["runs"] for entry in entries for node in entry["nodes"]}
    assert (goes["left"], goes["ask"]) == (0, 1)


def test_the_fork_of_a_thread_at_its_end_is_as_the_thread_stands(past: Past) -> None:
    for graph, status in (("steps", "idle"), ("asking", "interrupted"), ("failing", "error")):
        thread_id, _, _ = past.run(graph)
        thread, forked = (past.http.get(f"/threads/{each}").json() for each in (thread_id, fork(past, thread_id)))
        same = ("status", "values", "interrupts", "error", "config")
        assert [forked[key] for key in same] == [thread[key] for key in same]
        assert forked["status"] == status


def test_a_value_can_be_set_in_a_fork_and_the_nodes_behind_it_see_it(past: Past) -> None:
    thread_id, _, _ = past.run("steps")
    middle = past.history(thread_id)[2]
    assert middle["next"] == ["second"]
    forked = fork(past, thread_id, middle["checkpoint_id"], **{"n": 41, "log.0": "edited"})
    state = past.state(forked)
    assert (state["values"], state["next"]) == ({"n": 41, "log": ["edited", "first"]}, ["second"])
    assert past.http.get(f"/threads/{forked}").json()["values"] == state["values"]
    _, _, values = past.run("steps", forked, input=None)
    assert values == {"n": 42, "log": ["edited", "first", "second"]}
    params = {"a": f"{thread_id}@{middle['checkpoint_id']}", "b": f"{forked}@{middle['checkpoint_id']}"}
    patch = past.http.get(f"/threads/{thread_id}/diff", params=params).json()["patch"]
    assert sorted(operation["path"] for operation in patch) == ["/log/0", "/n"]


def test_an_edit_keeps_the_open_question(past: Past) -> None:
    thread_id, _, _ = past.run("asking")
    forked = fork(past, thread_id, n=7)
    assert [each["value"] for each in past.state(forked)["interrupts"]] == [{"q": "go on?"}]
    _, _, values = past.answer(forked, "asking", "maybe")
    assert values == {"log": ["in", "first", "answer maybe", "second"], "n": 8}


def test_parts_of_messages_and_of_a_users_own_classes_can_be_set(past: Past) -> None:
    thread_id, _, _ = past.run("talking", input={"messages": ["hello"]})
    forked = fork(past, thread_id, **{"/messages/0/content": "good-bye"})
    first, second = past.state(forked)["values"]["messages"]
    assert (first["type"], first["content"], second["content"]) == ("human", "good-bye", "one two three")
    thread_id, _, _ = past.run("reporting", input={"notes": []})
    forked = fork(past, thread_id, **{"finding.text": "lost"})
    assert past.state(forked)["values"]["finding"] == {"text": "lost", "weight": 1.0}
    [(blob,)] = past.rows(
        "select blob from checkpoint_blobs where thread_id = %s and channel = 'finding' order by version desc limit 1",
        forked,
    )
    assert b"Finding" in bytes(blob)


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"nowhere": 1}, "no 'nowhere'"),
        ({"log.9": 1}, "no item 9"),
        ({"log.x": 1}, "by its number"),
        ({"n.x": 1}, "has no parts"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_and_leaves_nothing_behind(past: Past, edits: Any, said: str) -> None:
    thread_id, _, _ = past.run("steps")
    count = past.rows("select count(*) from threads")
    answer = past.http.post(f"/threads/{thread_id}/fork", json={"set": edits})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert past.rows("select count(*) from threads") == count


def test_what_is_not_there_cannot_be_forked(past: Past) -> None:
    thread_id, _, _ = past.run("nested")
    assert past.http.post(f"/threads/{uuid4()}/fork", json={}).status_code == 404
    assert past.http.post(f"/threads/{thread_id}/fork", json={"checkpoint_id": "x"}).status_code == 404
    empty = past.http.post(f"/threads/{past.thread()}/fork", json={})
    assert (empty.status_code, "no checkpoint yet" in empty.json()["detail"]) == (422, True)
    [(inner,)] = past.rows(
        "select min(checkpoint_id) from checkpoints where thread_id = %s and checkpoint_ns <> ''", thread_id
    )
    answer = past.http.post(f"/threads/{thread_id}/fork", json={"checkpoint_id": inner})
    assert answer.status_code == 422
    assert "subgraph 'inner:" in answer.json()["detail"]


def test_a_thread_can_be_forked_while_a_run_is_at_work_on_it(past: Past) -> None:
    body = {"assistant_id": "waiting", "input": {"log": ["in"]}, "stream_mode": ["updates"]}
    thread_id = past.thread()
    run = past.http.post(f"/threads/{thread_id}/runs", json=body).json()
    with past.http.stream("GET", f"/threads/{thread_id}/runs/{run['run_id']}/events") as stream:
        next(chunk for chunk in stream.iter_bytes() if b'"first"' in chunk)
    deadline = time.monotonic() + 20
    while past.history(thread_id)[-1]["next"] != ["wait_for_ever"]:
        assert time.monotonic() < deadline
    assert past.http.get(f"/threads/{thread_id}").json()["status"] == "busy"
    before = past.bytes_of(thread_id)
    forked = fork(past, thread_id)
    assert past.bytes_of(thread_id) == before
    thread = past.http.get(f"/threads/{forked}").json()
    assert (thread["status"], thread["values"]) == ("interrupted", {"log": ["in", "first"], "n": 1})
    assert past.state(forked)["next"] == ["wait_for_ever"]
    past.http.post(f"/threads/{thread_id}/runs/{run['run_id']}/cancel?wait=true").raise_for_status()


def test_forks_of_busy_threads_are_whole_and_hold_up_nobody(past: Past) -> None:
    """Every fork is some moment of its source: a checkpoint with all its values, and never half of a commit."""
    threads = [past.thread() for _ in range(4)]
    made: list[tuple[str, str]] = []

    def work(thread_id: str) -> None:
        for _ in range(6):
            past.run("steps", thread_id)

    def watch(thread_id: str) -> None:
        past.run("steps", thread_id)
        made.extend((thread_id, fork(past, thread_id)) for _ in range(12))

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(job, thread_id) for thread_id in threads for job in (work, watch)]
        for job in jobs:
            job.result()
    assert len(made) == 48
    sources = {thread_id: {each["checkpoint_id"]: each for each in past.history(thread_id)} for thread_id in threads}
    for thread_id, forked in made:
        assert [shown(each) for each in past.history(forked)] == [
            shown(sources[thread_id][each["checkpoint_id"]]) for each in past.history(forked)
        ]


def test_a_thread_whose_graph_is_gone_can_be_forked(dsn: str, registry: Registry, tmp_path: Any) -> None:
    with serve_past(dsn, registry) as past:
        thread_id, _, _ = past.run("reporting", input={"notes": []})
    with serve_past(dsn, make_registry(tmp_path, ("steps",))) as past:
        before = past.bytes_of(thread_id)
        forked = fork(past, thread_id, **{"finding.text": "lost"})
        assert past.state(forked)["values"]["finding"] == {"text": "lost", "weight": 1.0}
        assert past.bytes_of(thread_id) == before
        refused = past.http.post(f"/threads/{forked}/runs/wait", json={"assistant_id": "reporting", "input": None})
        assert (refused.status_code, "reporting" in refused.json()["detail"]) == (422, True), refused.text
        assert "steps" in past.state(forked)["graph_error"]
    with serve_past(dsn, registry) as past:
        assert past.state(forked)["values"]["finding"]["text"] == "lost"
        _, _, values = past.run("reporting", forked, input={"notes": ["again"]})
        assert values["notes"] == ["a", "b", "closed"]


def test_a_delta_channel_is_taken_along_and_cannot_be_edited(past: Past) -> None:
    thread_id, _, values = past.run("delta")
    assert values["log"] == ["in", "note", "note", "note"]
    refused = past.http.post(f"/threads/{thread_id}/fork", json={"set": {"log": []}})
    assert (refused.status_code, "DeltaChannel" in refused.json()["detail"]) == (422, True)
    edited = fork(past, thread_id, n=9)
    assert past.state(edited)["values"] == {"log": ["in", "note", "note", "note"], "n": 9}


def branch(past: Past, thread_id: str, checkpoint_id: str, way: str) -> None:
    """Go on from a checkpoint that was gone on from already, inside of the thread."""
    there: dict[str, Any] = {"checkpoint_id": checkpoint_id}
    if way == "update":
        update = {"values": {"log": ["updated"]}, "as_node": "a"}
        past.http.post(f"/threads/{thread_id}/state", json=there | update).raise_for_status()
        there = {}
    given = {"input": {"log": ["other"]}} if way == "input" else {"input": None}
    command = {"command": {"update": {"log": ["commanded"]}, "goto": "c"}} if way == "command" else {}
    past.run("delta", thread_id, **there, **given, **command, durability="exit" if way == "command" else "async")


@pytest.mark.parametrize("way", ["again", "input", "update", "command"])
def test_the_branches_of_a_delta_channel_do_not_mix_in_forks(past: Past, way: str) -> None:
    """The changes of one checkpoint lie beside each other, whichever of its successors they led to."""
    thread_id, _, _ = past.run("delta")
    first = past.history(thread_id)
    for state in first:
        branch(past, thread_id, state["checkpoint_id"], way)
    states = past.history(thread_id)
    assert len(states) >= 2 * len(first)
    assert [shown(state) for state in states if state["checkpoint_id"] <= first[-1]["checkpoint_id"]] == [
        shown(state) for state in first
    ]
    before = past.bytes_of(thread_id)
    for state in states:
        forked = fork(past, thread_id, state["checkpoint_id"])
        assert shown(past.state(forked)) == shown(state)
        if len(state["next"]) == 1 and state["next"][0] in "abc":
            _, _, reached = past.run("delta", forked, input=None)
            assert reached["log"] == [*state["values"]["log"], *["note"] * (3 - "abc".index(state["next"][0]))]
    assert past.bytes_of(thread_id) == before


def test_a_fork_of_a_fork_and_of_a_branch_holds_its_own_path_only(past: Past) -> None:
    thread_id, _, _ = past.run("steps")
    middle = past.history(thread_id)[2]
    past.run("steps", thread_id, input=None, checkpoint_id=middle["checkpoint_id"])
    branched = fork(past, fork(past, thread_id))
    path = [state["checkpoint_id"] for state in past.history(branched)]
    parents = {state["checkpoint_id"]: state["parent_checkpoint_id"] for state in past.history(thread_id)}
    assert len(path) < len(parents)
    assert all(parents[later] == earlier for earlier, later in pairwise(path))
