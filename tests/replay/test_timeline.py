"""What an analyst reads of a thread: its steps, who made them, how long that took, and what each changed."""

import time
from typing import Any
from uuid import uuid4

import jsonpatch
import pytest

from threadline.graphs.registry import Registry
from threadline.replay.values import read_blob
from threadline.tests.replay.conftest import Past, make_registry, serve_past


def timeline(past: Past, thread_id: str, **parameters: Any) -> list[Any]:
    found: list[Any] = past.http.get(f"/threads/{thread_id}/timeline", params=parameters).raise_for_status().json()
    return found


def names(entry: Any) -> list[str]:
    return [node["name"] for node in entry["nodes"]]


@pytest.mark.parametrize("graph", ["steps", "talking", "reporting", "parallel", "nested"])
def test_the_patches_of_a_timeline_build_the_states_that_the_api_shows(past: Past, graph: str) -> None:
    thread_id, _, _ = past.run(graph, input={"messages": ["hello"]} if graph == "talking" else {"log": ["in"]})
    if graph in {"parallel", "nested"}:
        past.answer(thread_id, graph)
    states = {state["checkpoint_id"]: state for state in past.history(thread_id)}
    entries = timeline(past, thread_id)
    values: dict[str, Any] = {}
    assert [entry["checkpoint_id"] for entry in entries] == list(states)
    for entry in entries:
        before = values.get(entry["parent_checkpoint_id"], {})
        values[entry["checkpoint_id"]] = jsonpatch.apply_patch(before, entry["patch"])
        # At the input, the graph itself shows the empty values that nothing has stored yet.
        assert entry["source"] == "input" or values[entry["checkpoint_id"]] == states[entry["checkpoint_id"]]["values"]


def test_each_step_names_the_nodes_that_led_to_it(past: Past) -> None:
    thread_id, run_id, _ = past.run("steps")
    entries = timeline(past, thread_id)
    assert [(entry["source"], names(entry)) for entry in entries] == [
        ("input", []),
        ("loop", []),
        ("loop", ["first"]),
        ("loop", ["second"]),
    ]
    assert {entry["run_id"] for entry in entries} == {run_id}
    node = entries[2]["nodes"][0]
    assert (node["runs"], node["attempts"], node["error"]) == (1, 1, None)
    assert node["duration"] >= 0
    assert len(node["workers"]) == 1


def test_nodes_side_by_side_belong_to_one_step(past: Past) -> None:
    thread_id, _, _ = past.run("parallel")
    past.answer(thread_id, "parallel")
    [step] = [entry for entry in timeline(past, thread_id) if "left" in names(entry)]
    assert sorted(names(step)) == ["ask", "left"]


def test_a_run_that_keeps_its_last_checkpoint_only_still_shows_its_nodes(past: Past) -> None:
    thread_id, _, _ = past.run("steps", durability="exit")
    entry = timeline(past, thread_id)[-1]
    assert names(entry) == ["first", "second"]


def test_waiting_for_an_answer_is_told_apart_from_working(past: Past) -> None:
    begin = time.monotonic()
    thread_id, _, _ = past.run("asking")
    asked = timeline(past, thread_id)
    assert asked[-1]["checkpoint_id"] is None
    assert names(asked[-1]) == ["ask"]
    assert asked[-2]["interrupts"] == [{"q": "go on?"}]
    time.sleep(0.5)  # what is measured
    past.answer(thread_id, "asking")
    [step] = [entry for entry in timeline(past, thread_id) if "ask" in names(entry)]
    assert 0.5 <= step["wait"] <= time.monotonic() - begin
    assert step["duration"] < 0.4
    assert step["nodes"][0]["runs"] == 2


def test_a_node_that_failed_shows_its_error_without_a_checkpoint(past: Past) -> None:
    thread_id, _, _ = past.run("failing")
    last = timeline(past, thread_id)[-1]
    assert (last["checkpoint_id"], names(last)) == (None, ["fail"])
    assert "kaboom" in last["nodes"][0]["error"]


def test_tokens_are_counted_at_the_node_that_spent_them(past: Past) -> None:
    thread_id, _, _ = past.run("talking", input={"messages": ["hello"]})
    assert [entry["tokens"] for entry in timeline(past, thread_id)] == [None, None, 10]


def test_the_steps_of_subgraphs_are_shown_when_asked_for(past: Past) -> None:
    thread_id, _, _ = past.run("nested")
    past.answer(thread_id, "nested")
    entries = timeline(past, thread_id, subgraphs=True)
    inner = [entry for entry in entries if entry["checkpoint_ns"]]
    assert [node for entry in inner for node in names(entry)] == ["left", "ask"]
    assert not [entry for entry in timeline(past, thread_id) if entry["checkpoint_ns"]]


def test_only_the_newest_steps_are_read_when_so_many_are_asked_for(past: Past) -> None:
    thread_id, _, _ = past.run("steps")
    assert timeline(past, thread_id, limit=2) == timeline(past, thread_id)[-2:]


def test_times_are_unknown_where_the_log_was_trimmed(past: Past) -> None:
    thread_id, _, _ = past.run("steps")
    past.rows("delete from run_events where thread_id = %s", thread_id)
    entries = timeline(past, thread_id)
    assert [names(entry) for entry in entries] == [[], [], ["first"], ["second"]]
    assert [entry["duration"] for entry in entries] == [None] * 4


def test_a_thread_nobody_knows_has_no_timeline(past: Past) -> None:
    assert past.http.get(f"/threads/{uuid4()}/timeline").status_code == 404


def test_a_thread_whose_graph_is_gone_reads_as_before(dsn: str, registry: Registry, tmp_path: Any) -> None:
    with serve_past(dsn, registry) as past:
        thread_id, _, _ = past.run("reporting", input={"notes": []})
        before = timeline(past, thread_id)
    with serve_past(dsn, make_registry(tmp_path, ("steps",))) as past:
        assert timeline(past, thread_id) == before
        ids = [entry["checkpoint_id"] for entry in before]
        diff = past.http.get(f"/threads/{thread_id}/diff", params={"a": ids[-2], "b": ids[-1]}).json()
        assert diff["patch"] == before[-1]["patch"]
    added = {operation["path"]: operation["value"] for operation in before[-2]["patch"] if operation["op"] == "add"}
    assert added["/finding"] == {"text": "found", "weight": 1.0}


def test_two_checkpoints_are_compared_also_across_threads(past: Past) -> None:
    one, _, values = past.run("steps")
    other, _, _ = past.run("steps", input={"log": ["other"]})
    first = past.history(one)[1]["checkpoint_id"]
    within = past.http.get(f"/threads/{one}/diff", params={"a": first}).json()
    assert jsonpatch.apply_patch({"log": ["in"]}, within["patch"]) == values
    assert (within["a"]["checkpoint_id"], within["b"]["step"]) == (first, 2)
    across = past.http.get(f"/threads/{one}/diff", params={"a": f"{one}@", "b": f"{other}@"}).json()
    assert across["patch"] == [{"op": "replace", "path": "/log/0", "value": "other"}]


@pytest.mark.parametrize(
    ("a", "status"),
    [("nowhere", 404), ("00000000-0000-4000-8000-000000000000@x", 404), ("no-thread@x", 422), ("\x00", 422)],
)
def test_a_checkpoint_nobody_knows_cannot_be_compared(past: Past, a: str, status: int) -> None:
    thread_id, _, _ = past.run("steps")
    answer = past.http.get(f"/threads/{thread_id}/diff", params={"a": a})
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)


def test_a_value_that_cannot_be_read_is_described() -> None:
    found = read_blob("pickle", b"\x80\x04N.")
    assert (found["unreadable"], found["bytes"]) == ("pickle", 4)
