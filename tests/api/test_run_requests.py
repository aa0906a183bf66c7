"""What a request for a run means: whose configuration wins, and what the worker is told."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from threadline.api.errors import ContradictoryRequest
from threadline.api.run_requests import run_on_thread, run_without_thread
from threadline.api.schemas import RunCreate
from threadline.runs.errors import Invalid
from threadline.runs.model import Assistant, MultitaskStrategy, RunRequest

THREAD = uuid4()
NOW = datetime.now(UTC)


def assistant(**fields: Any) -> Assistant:
    empty: dict[str, Any] = {"config": {}, "context": {}, "metadata": {}}
    return Assistant(
        assistant_id=uuid4(),
        graph_id="echo",
        name="echo",
        description=None,
        version=1,
        created_at=NOW,
        updated_at=NOW,
        **empty | fields,
    )


def requested(of: Assistant | None = None, **fields: Any) -> RunRequest:
    body = RunCreate.model_validate({"assistant_id": "echo", **fields})
    return run_on_thread(THREAD, body, of or assistant())


def test_a_plain_request_has_every_key_of_the_contract() -> None:
    assert requested(input={"n": 1}).kwargs == {
        "input": {"n": 1},
        "command": None,
        "config": {"configurable": {}},
        "context": {},
        "stream_mode": ["values"],
        "interrupt_before": None,
        "interrupt_after": None,
        "webhook": None,
        "feedback_keys": None,
        "temporary": False,
        "subgraphs": False,
        "resumable": False,
        "checkpoint_during": True,
        "durability": "async",
    }


def test_context_and_configurable_are_copied_into_each_other() -> None:
    by_context = requested(context={"a": 1}).kwargs
    by_configurable = requested(config={"configurable": {"a": 1}}).kwargs
    for kwargs in (by_context, by_configurable):
        assert kwargs["context"] == {"a": 1}
        assert kwargs["config"]["configurable"] == {"a": 1}


def test_context_and_configurable_together_are_refused() -> None:
    with pytest.raises(ContradictoryRequest, match="Cannot specify both configurable and context"):
        requested(config={"configurable": {"a": 1}}, context={"b": 2})


def test_the_run_wins_over_its_assistant_key_by_key_but_replaces_its_tags() -> None:
    owner = assistant(
        config={"tags": ["a"], "recursion_limit": 7, "configurable": {"x": 1, "y": 1}},
        context={"x": 1, "y": 1},
        metadata={"team": "blue"},
    )
    request = requested(owner, config={"tags": ["b"]}, context={"y": 2}, metadata={"m": 1})
    assert request.kwargs["config"] == {
        "tags": ["b"],
        "recursion_limit": 7,
        "configurable": {"x": 1, "y": 2},
    }
    assert request.kwargs["context"] == {"x": 1, "y": 2}
    assert (request.inherited_metadata, request.metadata) == ({"team": "blue"}, {"m": 1})


def test_the_engines_own_configurable_keys_are_dropped() -> None:
    request = requested(config={"configurable": {"__pregel_send": "x", "mine": 1}})
    assert request.kwargs["config"]["configurable"] == {"mine": 1}


@pytest.mark.parametrize(
    "place", [{"checkpoint_id": "1f"}, {"checkpoint": {"checkpoint_id": "1f", "thread_id": str(uuid4())}}]
)
def test_a_checkpoint_is_named_in_configurable_only(place: dict[str, Any]) -> None:
    kwargs = requested(**place).kwargs
    assert kwargs["config"]["configurable"] == {"checkpoint_id": "1f", "checkpoint_ns": ""}
    assert kwargs["context"] == {}


def test_a_checkpoint_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match=r"checkpoint\.checkpoint_id"):
        requested(checkpoint={"checkpoint_id": 7})


@pytest.mark.parametrize(
    ("fields", "durability"),
    [
        ({}, "async"),
        ({"durability": "sync"}, "sync"),
        ({"checkpoint_during": False}, "exit"),
        ({"checkpoint_during": True}, "async"),
        ({"checkpoint_during": False, "durability": "sync"}, "sync"),
    ],
)
def test_the_older_name_of_durability_is_understood(fields: dict[str, Any], durability: str) -> None:
    assert requested(**fields).kwargs["durability"] == durability


def test_an_answer_of_null_stays_an_answer() -> None:
    assert requested(command={"resume": None}).kwargs["command"] == {"resume": None}
    assert requested(command={}).kwargs["command"] == {}


def test_nul_in_an_input_is_kept() -> None:
    assert requested(input={"text": "a\0b"}).kwargs["input"] == {"text": "a\0b"}


def test_how_a_run_meets_others_on_its_thread_is_handed_on() -> None:
    request = requested(multitask_strategy="reject", if_not_exists="create", after_seconds=1.5)
    assert request.thread_id == THREAD
    assert request.multitask_strategy is MultitaskStrategy.REJECT
    assert request.create_thread
    assert not request.fresh_thread
    assert request.delay == timedelta(seconds=1.5)


@pytest.mark.parametrize(("on_completion", "hidden"), [("delete", True), ("keep", False)])
def test_a_run_without_a_thread_gets_a_fresh_one(on_completion: str, hidden: bool) -> None:
    body = RunCreate.model_validate({"assistant_id": "echo", "on_completion": on_completion, "checkpoint_id": "1f"})
    first, second = (run_without_thread(body, assistant()) for _ in range(2))
    assert first.fresh_thread
    assert first.thread_id != second.thread_id
    assert first.hidden_thread is hidden
    assert first.kwargs["temporary"] is hidden
    assert first.kwargs["config"]["configurable"] == {}
