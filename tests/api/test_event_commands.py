"""What each command of the event-streaming protocol does, and in which words it refuses."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from threadline.tests.api.event_world import Thread, data, of


@pytest.fixture
def thread(http: httpx.Client) -> Thread:
    return Thread(http)


@pytest.fixture
def asked(thread: Thread) -> tuple[Thread, str]:
    """A thread that waits for an answer, and the id of its question."""
    thread.start("streamed_asking", {"topic": "well?"})
    (question,) = of(thread.read(), "input.requested")
    return thread, question["interrupt_id"]


def state_of(thread: Thread) -> Any:
    return thread.http.get(f"/threads/{thread.id}/state").json()


def test_an_answer_resumes_the_run_that_asked(asked: tuple[Thread, str]) -> None:
    thread, question = asked
    seen = thread.read()[-1]["seq"]
    answer = thread.send("input.respond", namespace=[], interrupt_id=question, response="yes")
    # The end of the run that asked is one more event of the log, which the protocol does not show.
    assert answer["meta"]["applied_through_seq"] == seen + 1
    events = thread.read(since=seen)
    assert [each["event"] for each in of(events, "lifecycle")] == ["running", "completed"]
    assert state_of(thread)["values"]["log"] == ["answer yes", "talk"]


def test_an_answer_counts_once(asked: tuple[Thread, str]) -> None:
    thread, question = asked
    thread.do("input.respond", namespace=[], interrupt_id=question, response="yes")
    assert thread.refused("input.respond", namespace=[], interrupt_id=question, response="no") == "no_such_interrupt"
    thread.read(runs=2)
    assert thread.refused("input.respond", namespace=[], interrupt_id=question, response="no") == "no_such_interrupt"
    assert state_of(thread)["values"]["log"] == ["answer yes", "talk"]


def test_several_questions_are_answered_in_one_run(thread: Thread) -> None:
    thread.start("streamed_asking_twice", {"topic": "this?"})
    questions = {each["payload"]["q"]: each["interrupt_id"] for each in of(thread.read(), "input.requested")}
    given = {"this?": "A", "and this?": "B"}
    responses = [{"namespace": [], "interrupt_id": questions[q], "response": a} for q, a in given.items()]
    thread.do("input.respond", responses=responses)
    thread.read(runs=2)
    assert sorted(state_of(thread)["values"]["log"]) == ["answer A", "other B"]


def test_an_answer_may_change_the_state_and_carry_metadata(asked: tuple[Thread, str]) -> None:
    thread, question = asked
    run_id = thread.do(
        "input.respond",
        namespace=[],
        interrupt_id=question,
        response="yes",
        update={"topic": "changed"},
        metadata={"by": "me"},
    )["run_id"]
    thread.read(runs=2)
    assert state_of(thread)["values"]["topic"] == "changed"
    assert thread.http.get(f"/threads/{thread.id}/runs/{run_id}").json()["metadata"]["by"] == "me"


def test_a_question_of_a_subgraph_is_answered(thread: Thread) -> None:
    thread.start("streamed_nested_asking", {"topic": "deep?"})
    (asked,) = [event for event in thread.read() if event["method"] == "input.requested"]
    where = asked["params"]["namespace"]
    thread.do("input.respond", namespace=where, interrupt_id=data(asked)["interrupt_id"], response="down here")
    thread.read(runs=2)
    assert state_of(thread)["values"]["log"] == ["answer down here", "plan"]


def test_input_for_a_thread_that_asks_is_the_answer(asked: tuple[Thread, str]) -> None:
    thread, _ = asked
    thread.start("streamed_asking", "by the way")
    thread.read(runs=2)
    assert state_of(thread)["values"]["log"] == ["answer by the way", "talk"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "invalid_argument"),
        ({"interrupt_id": 7}, "invalid_argument"),
        ({"responses": []}, "invalid_argument"),
        ({"responses": ["x"]}, "invalid_argument"),
        ({"responses": [{"interrupt_id": "a"}, {"interrupt_id": "a"}]}, "invalid_argument"),
        ({"interrupt_id": "nobody's"}, "no_such_interrupt"),
    ],
)
def test_an_answer_to_nothing_is_refused(asked: tuple[Thread, str], params: dict[str, Any], code: str) -> None:
    assert asked[0].refused("input.respond", **params) == code


def test_a_thread_without_runs_has_nothing_to_answer_to(thread: Thread) -> None:
    for method in ("input.respond", "run.cancel", "agent.getTree", "state.get", "state.listCheckpoints"):
        assert thread.refused(method, interrupt_id="x") == "no_such_run"
    assert thread.refused("state.fork", checkpoint_id="x") == "no_such_run"
    message = {"role": "user", "content": "hello"}
    assert thread.refused("input.inject", namespace=[], message=message) == "no_such_run"


def test_a_cancelled_run_ends_for_its_followers(thread: Thread) -> None:
    run_id = thread.start("streamed_dozing", {})
    with thread.stream(["lifecycle"]) as events:
        assert data(next(events))["event"] == "running"
        assert thread.do("run.cancel", run_id=run_id) == {}
        assert data(next(events)) == {
            "event": "failed",
            "graph_name": "streamed_dozing",
            "error": "The run was cancelled.",
        }
    assert thread.refused("run.cancel", run_id=run_id) == "no_such_run"


def test_a_run_that_is_cancelled_before_it_starts_ends_for_its_followers(thread: Thread) -> None:
    thread.start("streamed_dozing", {})
    second = thread.start("streamed_talking", {})
    with thread.stream(["lifecycle"]) as events:
        assert data(next(events))["event"] == "running"
        thread.do("run.cancel", run_id=second)
        end = next(events)
        assert end["event_id"] == f"synth:{second}:lc||failed"
        assert data(end)["error"] == "The run was cancelled."
        thread.do("run.cancel", action="rollback")
        assert data(next(events))["event"] == "failed"
    assert thread.refused("run.cancel") == "no_such_run"


def test_the_tree_of_a_run_shows_its_graphs(thread: Thread) -> None:
    run_id = thread.start("streamed_nested_asking", {"topic": "?"})
    thread.read()
    tree = thread.do("agent.getTree")["tree"]
    assert (tree["namespace"], tree["status"], tree["graph_name"]) == ([], "interrupted", "streamed_nested_asking")
    assert tree["metadata"]["run_id"] == run_id
    (inner,) = tree["children"]
    (deep,) = inner["children"]
    assert (inner["graph_name"], inner["status"]) == ("inner", "interrupted")
    assert (deep["graph_name"], deep["status"]) == ("deep", "interrupted")
    assert deep["namespace"][0] == inner["namespace"][0]
    assert thread.do("agent.getTree", run_id=run_id)["tree"] == tree
    assert thread.refused("agent.getTree", run_id=str(uuid4())) == "no_such_run"
    assert thread.refused("agent.getTree", run_id="zz") == "invalid_argument"


def test_the_tree_is_known_while_the_run_is_at_work(thread: Thread) -> None:
    thread.start("streamed_dozing", {})
    with thread.stream(["lifecycle"]) as events:
        next(events)
    assert thread.do("agent.getTree")["tree"]["status"] == "running"
    thread.do("run.cancel")


def test_the_tree_of_a_run_started_otherwise_has_its_subgraphs(thread: Thread) -> None:
    thread.http.post("/threads", json={"thread_id": thread.id})
    thread.http.post(f"/threads/{thread.id}/runs/wait", json={"assistant_id": "streamed_nested", "input": {}})
    tree = thread.do("agent.getTree")["tree"]
    assert tree["status"] == "completed"
    assert [(each["graph_name"], each["status"]) for each in tree["children"]] == [("inner", "completed")]


def test_the_state_is_read_whole_or_by_keys(asked: tuple[Thread, str]) -> None:
    thread, _ = asked
    whole = thread.do("state.get", namespace=[])
    assert whole["values"]["topic"] == "well?"
    assert whole["checkpoint"]["id"] == state_of(thread)["checkpoint"]["checkpoint_id"]
    assert thread.do("state.get", namespace=[], keys=["topic", "nothing"])["values"] == {"topic": "well?"}
    assert thread.refused("state.get", namespace="x") == "invalid_argument"
    assert thread.refused("state.get", namespace=[], keys="topic") == "invalid_argument"
    assert thread.refused("state.get", namespace=["nobody:1"]) == "no_such_namespace"


def test_the_state_of_a_subgraph_is_read(thread: Thread) -> None:
    thread.start("streamed_nested_asking", {"topic": "?"})
    (asked,) = [event for event in thread.read() if event["method"] == "input.requested"]
    where = asked["params"]["namespace"]
    found = thread.do("state.get", namespace=where)
    assert found["values"]["topic"] == "?"
    assert found["checkpoint"]["ns"] == "|".join(where)


def test_checkpoints_are_listed_newest_first_and_page_by_page(thread: Thread) -> None:
    thread.start("streamed_talking", {"topic": "x"})
    thread.read()
    listed = thread.do("state.listCheckpoints")["checkpoints"]
    assert [each["step"] for each in listed] == [2, 1, 0, -1]
    assert [each["source"] for each in listed] == ["loop", "loop", "loop", "input"]
    assert [each.get("parent_id") for each in listed] == [*(each["id"] for each in listed[1:]), None]
    page = thread.do("state.listCheckpoints", limit=1, before=listed[0]["id"])["checkpoints"]
    assert page == [listed[1]]
    assert thread.refused("state.listCheckpoints", limit=0) == "invalid_argument"
    assert thread.refused("state.listCheckpoints", limit="many") == "invalid_argument"


def test_a_fork_starts_a_run_at_a_checkpoint(thread: Thread) -> None:
    thread.start("streamed_talking", {"topic": "first"})
    seen = thread.read()[-1]["seq"]
    listed = thread.do("state.listCheckpoints")["checkpoints"]
    after_plan = next(each for each in listed if each["step"] == 1)
    made = thread.do("state.fork", checkpoint_id=after_plan["id"])
    assert made["thread_id"] == thread.id
    events = thread.read(["lifecycle", "checkpoints"], since=seen)
    assert data(events[-1])["event"] == "completed"
    assert state_of(thread)["values"]["log"] == ["plan", "talk"]
    assert of(events, "checkpoints")[0]["parent_id"] == after_plan["id"]
    assert thread.refused("state.fork", checkpoint_id="1f000000-0000-6000-8000-000000000000") == "no_such_checkpoint"
    assert thread.refused("state.fork") == "invalid_argument"


def test_a_run_goes_on_at_the_checkpoint_its_config_names(thread: Thread) -> None:
    thread.start("streamed_talking", {"topic": "first"})
    thread.read()
    listed = thread.do("state.listCheckpoints")["checkpoints"]
    after_plan = next(each for each in listed if each["step"] == 1)
    thread.start("streamed_talking", None, config={"configurable": {"checkpoint_id": after_plan["id"]}})
    thread.read(runs=2)
    assert state_of(thread)["values"]["log"] == ["plan", "talk"]


def test_an_injected_message_reaches_the_graph(thread: Thread) -> None:
    thread.start("streamed_talking", {})
    thread.read()
    message = {"role": "user", "content": "and now?", "name": "me"}
    thread.do("input.inject", namespace=[], message=message)
    thread.read(runs=2)
    said = state_of(thread)["values"]["messages"]
    assert [(each["type"], each["name"]) for each in said] == [("ai", None), ("human", "me"), ("ai", None)]
    assert thread.refused("input.inject", namespace=["inner"], message=message) == "not_supported"
    assert thread.refused("input.inject", namespace=[], message={"role": "ai", "content": "x"}) == "invalid_argument"
    assert thread.refused("input.inject", namespace=[], message={"role": "user"}) == "invalid_argument"


def test_a_message_for_a_graph_that_takes_none_is_refused(thread: Thread) -> None:
    thread.start("steps", {})
    thread.read()
    message = {"role": "user", "content": "hello"}
    assert thread.refused("input.inject", namespace=[], message=message) == "not_supported"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "invalid_argument"),
        ({"assistant_id": "nobody"}, "invalid_argument"),
        ({"assistant_id": "00000000-0000-4000-8000-000000000000"}, "no_such_run"),
        ({"assistant_id": "steps", "config": 7}, "invalid_argument"),
        ({"assistant_id": "steps", "metadata": "x"}, "invalid_argument"),
        ({"assistant_id": "steps", "multitask_strategy": "wait"}, "invalid_argument"),
    ],
)
def test_a_run_that_cannot_be_is_refused(thread: Thread, params: dict[str, Any], code: str) -> None:
    assert thread.refused("run.start", **params) == code
    assert thread.http.get(f"/threads/{thread.id}").status_code == 404


def test_a_run_that_must_be_alone_is_refused_beside_another(thread: Thread) -> None:
    thread.start("streamed_dozing", {})
    answer = thread.send("run.start", assistant_id="steps", multitask_strategy="reject")
    assert (answer["type"], answer["error"]) == ("error", "unknown_error")
    assert answer["message"].startswith("409: Thread is already running")
    thread.do("run.cancel")


@pytest.mark.parametrize("method", ["zzz", "run.input", "subscription", ""])
def test_an_unknown_command_is_called_that(thread: Thread, method: str) -> None:
    assert thread.refused(method) == "unknown_command"


def test_subscriptions_need_a_connection_of_their_own(thread: Thread) -> None:
    for method in ("subscription.subscribe", "subscription.unsubscribe", "subscription.reconnect"):
        assert thread.refused(method, channels=["values"]) == "not_supported"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"{", {"detail": "Invalid JSON body"}),
        (b"", {"detail": "Invalid JSON body"}),
        (b"[]", {"id": None}),
        (b'{"id": 1}', {"id": 1}),
        (b'{"id": "x", "method": "run.start"}', {"id": "x"}),
        (b'{"id": true, "method": "run.start"}', {"error": "invalid_argument"}),
        (b'{"method": "run.start"}', {"id": None}),
    ],
)
def test_what_is_no_command_gets_a_400(thread: Thread, body: bytes, answer: dict[str, Any]) -> None:
    response = thread.http.post(f"/threads/{thread.id}/commands", content=body)
    assert response.status_code == 400
    given = response.json()
    assert {key: given[key] for key in answer} == answer
    if "detail" not in answer:
        assert (given["type"], given["error"]) == ("error", "invalid_argument")
