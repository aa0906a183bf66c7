"""What the event-streaming protocol shows of runs, and how its streams go on after a break."""

from itertools import pairwise
from typing import Any

import httpx
import pytest

from threadline.tests.api.event_world import ALL, Thread, data, is_end, of
from threadline.tests.api.streamed_graphs import TOLD


@pytest.fixture
def thread(http: httpx.Client) -> Thread:
    return Thread(http)


def text_of(messages: list[Any]) -> str:
    return "".join(each["delta"]["text"] for each in messages if each["event"] == "content-block-delta")


def test_a_run_is_told_from_running_to_completed(thread: Thread) -> None:
    run_id = thread.start("streamed_talking", {"topic": "x"})
    events = thread.read()
    lives = [event for event in events if event["method"] == "lifecycle"]
    assert [data(event)["event"] for event in lives] == ["running", "completed"]
    assert [event["event_id"] for event in lives] == [f"synth:{run_id}:lc||{each}" for each in ("running", "completed")]
    assert all(data(event)["graph_name"] == "streamed_talking" for event in lives)
    assert [each["log"] for each in of(events, "values")] == [[], ["plan"], ["plan", "talk"]]
    assert [next(iter(each)) for each in of(events, "updates")] == ["plan", "talk"]
    assert of(events, "custom") == [{"name": "progress", "done": 0.5}, "no name"]
    assert [each["name"] for each in of(events, "tasks")] == ["plan", "plan", "talk", "talk"]


def test_numbers_rise_and_each_event_has_an_id_of_its_own(thread: Thread) -> None:
    thread.start("streamed_talking", {})
    events = thread.read()
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    assert len({event["event_id"] for event in events}) == len(events)
    again = thread.read()
    assert [event["event_id"] for event in again] == [event["event_id"] for event in events]


def test_a_message_is_streamed_block_by_block(thread: Thread) -> None:
    thread.start("streamed_talking", {})
    messages = of(thread.read(["messages"]), "messages")
    phases = [each["event"] for each in messages]
    assert phases[:2] == ["message-start", "content-block-start"]
    assert phases[-2:] == ["content-block-finish", "message-finish"]
    assert set(phases[2:-2]) == {"content-block-delta"}
    assert text_of(messages) == TOLD
    assert messages[-2]["content"] == {"type": "text", "text": TOLD}
    assert len({each["id"] for each in messages}) == 1


def test_two_messages_at_once_are_told_apart(thread: Thread) -> None:
    thread.start("streamed_chorus", {})
    messages = of(thread.read(["messages"]), "messages")
    ids = {each["id"] for each in messages}
    assert len(ids) == 2
    texts = {text_of([each for each in messages if each["id"] == one]) for one in ids}
    assert texts == {"one two", "three four"}


def test_a_message_that_breaks_off_ends_with_an_error(thread: Thread) -> None:
    thread.start("streamed_broken_off", {})
    events = thread.read(["messages", "lifecycle"])
    messages = of(events, "messages")
    assert messages[-1] == {"event": "error", "message": "the model hung up", "id": messages[0]["id"]}
    assert of(events, "lifecycle")[-1]["event"] == "failed"


def test_calls_of_tools_are_told(thread: Thread) -> None:
    thread.start("streamed_calling", {})
    tools = of(thread.read(["tools"]), "tools")
    assert [each["event"] for each in tools] == ["tool-started", "tool-finished"]
    assert tools[0] | {"tool_name": "add", "tool_call_id": "call-1", "input": {"a": 1, "b": 2}} == tools[0]
    assert tools[1]["output"]["content"] == "3"


def test_each_checkpoint_is_told_before_the_values_it_holds(thread: Thread) -> None:
    thread.start("streamed_talking", {"topic": "x"})
    events = thread.read(["values", "checkpoints"])
    pairs = [
        (data(before)["step"], data(after)["log"])
        for before, after in pairwise(events)
        if (before["method"], after["method"]) == ("checkpoints", "values")
    ]
    assert pairs == [(0, []), (1, ["plan"]), (2, ["plan", "talk"])]
    points = of(events, "checkpoints")
    assert [each.get("parent_id") for each in points] == [None, *(each["id"] for each in points[:-1])]
    history = thread.http.post(f"/threads/{thread.id}/history", json={"limit": 10}).json()
    assert [each["id"] for each in points] == [each["checkpoint_id"] for each in reversed(history)]


def test_subgraphs_have_namespaces_and_lives_of_their_own(thread: Thread) -> None:
    thread.start("streamed_nested", {})
    events = thread.read()
    inner = [event for event in events if event["params"]["namespace"]]
    (namespace,) = {tuple(event["params"]["namespace"]) for event in inner}
    assert namespace[0].startswith("inner:")
    lives = of(inner, "lifecycle")
    assert [each["event"] for each in lives] == ["started", "completed"]
    assert lives[0] == {
        "event": "started",
        "namespace": list(namespace),
        "graph_name": "inner",
        "trigger_call_id": namespace[0].partition(":")[2],
    }
    assert text_of(of(inner, "messages")) == TOLD
    assert {"values", "updates", "tasks", "checkpoints"} <= {event["method"] for event in inner}


def test_a_subgraph_that_fails_says_why(thread: Thread) -> None:
    thread.start("streamed_nested_failing", {})
    inner = [event for event in thread.read(["lifecycle"]) if event["params"]["namespace"]]
    assert [data(event)["event"] for event in inner] == ["started", "failed"]
    assert "kaboom" in data(inner[-1])["error"]


def test_namespaces_and_depth_choose_what_is_sent(thread: Thread) -> None:
    thread.start("streamed_nested_asking", {})
    everything = thread.read(["tasks"])
    paths = {tuple(event["params"]["namespace"]) for event in everything}
    root, inner, deep = sorted(paths, key=len)
    assert (root, len(inner), len(deep)) == ((), 1, 2)

    def seen(**wanted: object) -> set[tuple[str, ...]]:
        return {tuple(event["params"]["namespace"]) for event in thread.settled(["tasks"], **wanted)}

    assert seen(namespaces=[["inner"]]) == {inner, deep}
    assert seen(namespaces=[["inner"]], depth=0) == {inner}
    assert seen(namespaces=[list(deep)]) == {deep}
    assert seen(namespaces=[[]], depth=1) == {root, inner}
    assert seen(depth=0) == {root}
    assert seen(namespaces=[]) == paths
    assert seen(namespaces=[["inner:other"]]) == set()


def test_custom_events_are_chosen_by_name(thread: Thread) -> None:
    thread.start("streamed_talking", {})
    assert of(thread.read(["custom:progress"]), "custom") == [{"name": "progress", "done": 0.5}]
    assert of(thread.read(["custom:other"]), "custom") == []
    assert len(of(thread.read(["custom"]), "custom")) == 2


def test_a_failed_run_tells_the_text_of_its_error(thread: Thread) -> None:
    thread.start("streamed_failing", {})
    end = thread.read(["lifecycle"])[-1]
    assert data(end) == {"event": "failed", "graph_name": "streamed_failing", "error": "kaboom"}


def test_a_question_is_asked_once_where_it_was_raised(thread: Thread) -> None:
    run_id = thread.start("streamed_nested_asking", {"topic": "sure?"})
    events = thread.read()
    (asked,) = [event for event in events if event["method"] == "input.requested"]
    assert [each.partition(":")[0] for each in asked["params"]["namespace"]] == ["inner", "deep"]
    assert data(asked)["payload"] == data(asked)["value"] == {"q": "sure?"}
    path = "|".join(asked["params"]["namespace"])
    assert asked["event_id"] == f"synth:{run_id}:input|{path}|{data(asked)['interrupt_id']}"
    assert of(events, "lifecycle")[-1]["event"] == "interrupted"
    assert all("__interrupt__" not in each for each in of(events, "values"))


def test_a_client_that_drops_after_every_event_sees_each_exactly_once(thread: Thread) -> None:
    thread.start("streamed_nested", {})
    seen: list[dict[str, object]] = []
    since = 0
    while not seen or not is_end(seen[-1]):
        with thread.stream(since=since) as events:
            seen.append(next(events))
            since = int(str(seen[-1]["seq"]))
    assert seen == thread.read(ALL)


def test_every_suffix_of_the_log_can_be_asked_for(thread: Thread) -> None:
    thread.start("streamed_talking", {})
    events = thread.read()
    for place in range(0, len(events) - 1, 5):
        assert thread.read(since=events[place]["seq"]) == events[place + 1 :]


def test_a_number_beyond_the_log_begins_it_again(thread: Thread) -> None:
    thread.start("streamed_talking", {})
    assert thread.read(since=10_000) == thread.read()


def test_a_new_stream_tells_of_all_runs_of_the_thread(thread: Thread) -> None:
    first, second = thread.start("streamed_talking", {}), thread.start("streamed_talking", {})
    ends = [event for event in thread.read(["lifecycle"], runs=2) if is_end(event)]
    assert [event["event_id"].split(":")[1] for event in ends] == [first, second]


def test_a_stream_may_be_opened_before_the_thread_exists(thread: Thread) -> None:
    with thread.stream(["lifecycle"]) as events:
        thread.start("streamed_talking", {})
        assert data(next(events))["event"] == "running"


def test_a_run_started_otherwise_is_shown_as_far_as_it_is_recorded(thread: Thread) -> None:
    thread.http.post("/threads", json={"thread_id": thread.id})
    body = {"assistant_id": "streamed_asking", "input": {}, "stream_mode": ["values", "messages"]}
    thread.http.post(f"/threads/{thread.id}/runs/wait", json=body)
    events = thread.read()
    assert [each["event"] for each in of(events, "lifecycle")] == ["running", "interrupted"]
    assert len(of(events, "input.requested")) == 1
    assert of(events, "values")
    assert of(events, "messages") == []


def test_a_run_that_failed_otherwise_tells_its_error(thread: Thread) -> None:
    thread.http.post("/threads", json={"thread_id": thread.id})
    thread.http.post(f"/threads/{thread.id}/runs/wait", json={"assistant_id": "streamed_failing", "input": {}})
    assert of(thread.read(), "lifecycle")[-1] == {"event": "failed", "error": "kaboom"}


def test_a_breakpoint_is_no_end_but_an_interruption(thread: Thread) -> None:
    thread.http.post("/threads", json={"thread_id": thread.id})
    body = {"assistant_id": "streamed_talking", "input": {}, "interrupt_before": ["talk"]}
    thread.http.post(f"/threads/{thread.id}/runs/wait", json=body)
    assert of(thread.read(), "lifecycle")[-1]["event"] == "interrupted"


def test_streams_of_runs_show_nothing_of_the_protocol(thread: Thread) -> None:
    run_id = thread.start("streamed_calling", {})
    thread.read()
    shown = thread.http.get(f"/threads/{thread.id}/runs/{run_id}/stream", headers={"Last-Event-ID": "-"}).text
    names = {line.removeprefix("event: ") for line in shown.splitlines() if line.startswith("event: ")}
    assert names == {"metadata", "values", "updates", "tasks"}


def test_a_number_that_is_no_longer_kept_is_answered_with_the_one_to_go_on_from(thread: Thread) -> None:
    for topic in ("first", "second"):
        thread.start("streamed_talking", {"topic": topic})
        thread.read(runs=1 if topic == "first" else 2)
    newest = [event for event in thread.read(runs=2) if event["method"] == "lifecycle"][-2:]
    pruned = thread.http.post("/threads/prune", json={"thread_ids": [thread.id], "strategy": "keep_latest"})
    assert pruned.json() == {"pruned_count": 1}
    assert [event for event in thread.read() if event["method"] == "lifecycle"] == newest
    gone = thread.http.post(f"/threads/{thread.id}/stream/events", json={"channels": ["values"], "since": 1})
    assert gone.status_code == 410
    horizon = int(gone.json()["detail"].partition("Resume after ")[2].partition(",")[0])
    assert thread.read(since=horizon)[0]["seq"] == newest[0]["seq"]


def test_a_deleted_thread_ends_its_streams(thread: Thread) -> None:
    thread.start("streamed_talking", {})
    thread.read()
    with thread.stream(["lifecycle"]) as events:
        assert [data(next(events))["event"] for _ in range(2)] == ["running", "completed"]
        thread.http.delete(f"/threads/{thread.id}")
        last = list(events)
    assert [each["type"] for each in last] == ["error"]
    assert last[0]["id"] is None
    assert "deleted" in last[0]["message"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "Invalid JSON body"),
        (b"[]", "channels is required"),
        (b"{}", "channels is required"),
        (b'{"channels": []}', "channels is required"),
        (b'{"channels": ["values", "zzz"]}', "unsupported entries: zzz"),
        (b'{"channels": ["custom:"]}', "unsupported entries: custom:"),
        (b'{"channels": [1]}', "unsupported entries: 1"),
        (b'{"channels": ["values"], "since": -1}', "since must be a non-negative integer"),
        (b'{"channels": ["values"], "since": "3"}', "since must be a non-negative integer"),
        (b'{"channels": ["values"], "depth": true}', "depth must be a non-negative integer"),
        (b'{"channels": ["values"], "namespaces": "a"}', "namespaces must be"),
        (b'{"channels": ["values"], "namespaces": [["a", 1]]}', "namespaces must be an array of strings"),
    ],
)
def test_a_filter_that_is_none_is_refused(thread: Thread, body: bytes, problem: str) -> None:
    answer = thread.http.post(f"/threads/{thread.id}/stream/events", content=body)
    assert answer.status_code == 400
    assert problem in answer.json()["detail"]


def test_a_thread_needs_an_id_that_is_one(http: httpx.Client) -> None:
    for path in ("commands", "stream/events"):
        answer = http.post(f"/threads/nobody/{path}", json={"channels": ["values"]})
        assert (answer.status_code, answer.json()["detail"]) == (422, "Invalid thread ID: must be a UUID")


def test_what_a_graphs_own_transformers_push_is_sent_on_channels_of_their_names(thread: Thread) -> None:
    thread.start("streamed_projecting", {})
    events = thread.read()
    assert data(events[-1])["event"] == "completed"
    counts = [{"name": "counts", "payload": {"nodes": [name]}} for name in ("plan", "act")]
    pushed = [event for event in events if event["method"] == "custom" and "payload" in data(event)]
    assert [data(event) for event in pushed] == [*counts, {"name": "sum", "payload": len(of(events, "values"))}]
    assert pushed[0]["seq"] < next(event["seq"] for event in events if event["method"] == "updates")
    assert of(thread.read(["custom:sum"]), "custom") == [data(pushed[-1])]
    assert of(thread.read(["custom:counts"]), "custom") == counts
