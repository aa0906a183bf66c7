"""Owns the checks of a model that fails: what is asked again, when, of whom, and how it is told in the end."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import openai
import pytest
from langchain_core.messages import ToolMessage
from langgraph.store.base import BaseStore

from threadline.graphs.assistant.calls import MAX_PARALLEL
from threadline.graphs.assistant.faults import pause, understand
from threadline.graphs.assistant.model import ModelFailed
from threadline.graphs.assistant.online_model import MAX_REPLY
from threadline.graphs.assistant.tools import NOTES
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant.conversations import answer_of, ask, listen, results_of
from threadline.tests.graphs.assistant.open_ai import Reply, scripted_model

DONE = Reply("DONE")
BUSY = Reply("too many requests", status=429)
GOOD = Reply("It is 42.")


def call(tool: str, **arguments: object) -> tuple[str, str]:
    return tool, json.dumps(arguments)


def streamed(*events: object) -> str:
    return "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events)


def refused(status: int, headers: dict[str, str] | None = None, code: str | None = None) -> openai.APIStatusError:
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("POST", "http://127.0.0.1/"))
    return openai.APIStatusError("no", response=response, body={"message": "no", "code": code})


async def test_a_service_that_is_busy_is_asked_again(assistant: Graph) -> None:
    with scripted_model([DONE], [BUSY, Reply("down", status=503), GOOD], max_retries=2) as script:
        assert answer_of(await ask(assistant, "What is 6*7?")) == "It is 42."
    assert len(script.requests) == 4


async def test_a_service_is_left_alone_for_as_long_as_it_asked(assistant: Graph) -> None:
    later = Reply("wait", status=429, headers={"Retry-After": "1"})
    with scripted_model([DONE], [later, GOOD], max_retries=1) as script:
        await ask(assistant, "What is 6*7?")
    assert 1.0 <= script.times[2] - script.times[1] < 2.5


async def test_a_service_that_asks_for_more_time_than_there_is_is_not_waited_for(assistant: Graph) -> None:
    later = Reply("come back tomorrow", status=429, headers={"Retry-After": "86400"})
    started = time.monotonic()
    with scripted_model([DONE], [later], max_retries=5) as script, pytest.raises(ModelFailed, match="tomorrow"):
        await ask(assistant, "What is 6*7?")
    assert len(script.requests) == 2
    assert time.monotonic() - started < 5


async def test_the_fallback_answers_when_the_model_fails_for_good(assistant: Graph) -> None:
    with scripted_model([DONE], [Reply("no such model", status=404), GOOD], fallback="spare", max_retries=3) as script:
        assert answer_of(await ask(assistant, "What is 6*7?")) == "It is 42."
    assert [request["model"] for request in script.requests] == ["scripted", "scripted", "spare"]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply("the quota is used up", status=429), "scripted answered 429: the quota is used up"),
        (Reply("the key is wrong", status=401), "scripted answered 401: the key is wrong"),
        (Reply(raw="<html>a page</html>"), "scripted sent no reply"),
        (Reply(raw=""), "scripted sent no reply"),
        (Reply(raw=streamed("{broken", "[DONE]")), "scripted sent what is no chat completion"),
        (Reply(raw=streamed([1, 2], "[DONE]")), "scripted sent what is no chat completion"),
        (Reply(raw=streamed({"choices": "none"})), "scripted sent what is no chat completion"),
        (Reply(raw=streamed({"choices": [{"index": 0}]})), "scripted sent no reply"),
        (Reply(raw=streamed({"error": {"message": "out of memory"}})), "scripted broke off: out of memory"),
        (Reply(raw="\x00\xff" * 100), "scripted sent"),
        (Reply(""), "scripted replied with nothing"),
        (Reply(" \n "), "scripted replied with nothing"),
        (Reply("", finish_reason="content_filter"), "scripted filtered its reply"),
    ],
)
# Said of a garbled reply by the library's models; only tests make an error of it.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_what_is_no_answer_ends_the_run_with_what_the_model_did(
    assistant: Graph, reply: Reply, problem: str
) -> None:
    with scripted_model([DONE], [reply]), pytest.raises(ModelFailed, match=problem) as raised:
        await ask(assistant, "What is 6*7?")
    assert "key of the test" not in str(raised.value)


async def test_a_closed_port_is_told_and_every_attempt_counted(assistant: Graph) -> None:
    with (
        scripted_model([DONE], [DONE], base_url="http://127.0.0.1:9/v1", max_retries=1),
        pytest.raises(ModelFailed, match=r"scripted cannot be reached: .* \(2 times\)"),
    ):
        await ask(assistant, "What is 6*7?")


@pytest.mark.parametrize("bounds", [(0.3, 60), (60, 0.3)])
async def test_a_model_that_stalls_is_given_up(assistant: Graph, bounds: tuple[float, float]) -> None:
    timeout, deadline = (timedelta(seconds=each) for each in bounds)
    stalled = Reply("one two three four", stalls=True)
    started = time.monotonic()
    with (
        scripted_model([stalled], [GOOD], timeout=timeout, deadline=deadline),
        pytest.raises(ModelFailed, match="scripted fell silent"),
    ):
        await ask(assistant, "What is 6*7?")
    assert time.monotonic() - started < 5


async def test_an_answer_that_was_shown_in_part_is_not_begun_anew(assistant: Graph) -> None:
    broken = Reply("one two three four", breaks=True)
    with (
        scripted_model([DONE], [broken, GOOD], max_retries=3, fallback="spare") as script,
        pytest.raises(ModelFailed, match="the answer broke off: scripted broke off"),
    ):
        await listen(assistant, "What is 6*7?")
    assert len(script.requests) == 2


async def test_a_plan_that_broke_off_is_asked_for_again(assistant: Graph) -> None:
    plan = Reply(calls=(call("calculate", expression="6*7"),))
    broken = Reply(calls=plan.calls, breaks=True)
    with scripted_model([broken, plan, DONE], [GOOD], max_retries=1) as script:
        heard = await listen(assistant, "What is 6*7?")
    assert len(script.requests) == 4
    assert [str(message.content) for message, _ in heard if isinstance(message, ToolMessage)] == ["6*7 = 42"]


async def test_a_reply_without_an_end_is_cut_off(assistant: Graph) -> None:
    with (
        scripted_model([DONE], [Reply(f"{'again' * 400} " * (MAX_REPLY // 1000))]),
        pytest.raises(ModelFailed, match="came to no end"),
    ):
        await ask(assistant, "What is 6*7?")


async def test_arguments_that_broke_off_are_not_completed_by_guessing(assistant: Graph) -> None:
    broken = Reply(calls=(("save_note", '{"title": "Plan", "text": "we will not'),))
    with scripted_model([broken, DONE], [Reply("I could not save it.")]):
        values = await ask(assistant, "Save our plan")
    (result,) = results_of(values, "save_note")
    assert "not valid JSON" in str(result.content)
    assert "__interrupt__" not in values
    assert isinstance(assistant.store, BaseStore)
    assert await assistant.store.asearch(NOTES) == []


async def test_a_refusal_is_the_answer_and_says_that_it_is_one(assistant: Graph) -> None:
    with scripted_model([DONE], [Reply(refusal="I cannot help with that.")]):
        values = await ask(assistant, "Do something bad")
    assert answer_of(values) == "I cannot help with that."
    assert values["answer"] == {"text": "I cannot help with that.", "citations": [], "confidence": 0.0, "refused": True}


async def test_a_model_that_repeats_a_call_gets_no_second_result(assistant: Graph) -> None:
    same = Reply(calls=(call("calculate", expression="6*7"),))
    with scripted_model([same], [GOOD]) as script:
        values = await ask(assistant, "What is 6*7?")
    first, second = results_of(values, "calculate")
    assert first.content == "6*7 = 42"
    assert "You made this very call already" in str(second.content)
    assert values["stop_reason"] == "loop"
    assert len(script.requests) == 3


async def test_a_call_that_failed_may_be_tried_once_more(assistant: Graph) -> None:
    wrong = Reply(calls=(call("calculate", expression="1/0"),))
    with scripted_model([wrong], [Reply("It has no value.")]) as script:
        values = await ask(assistant, "What is 1/0?")
    contents = [str(result.content) for result in results_of(values, "calculate")]
    assert contents[:2] == ["Error: division by zero"] * 2
    assert "already" in contents[2]
    assert len(script.requests) == 4


@pytest.mark.parametrize("ids", [("same", "same"), (None, None), ("", "")])
async def test_calls_without_an_id_of_their_own_get_one(assistant: Graph, ids: tuple[str | None, ...]) -> None:
    twice = Reply(calls=(call("calculate", expression="1+1"), call("calculate", expression="2+2")), ids=ids)
    with scripted_model([twice, DONE], [Reply("2 and 4")]) as script:
        values = await ask(assistant, "Calculate!")
    assert [str(result.content) for result in results_of(values, "calculate")] == ["1+1 = 2", "2+2 = 4"]
    called = [each["id"] for message in script.requests[1]["messages"] for each in message.get("tool_calls", ())]
    assert len(set(called)) == 2


async def test_names_that_services_refuse_are_not_sent_back_to_them(assistant: Graph) -> None:
    odd = Reply(calls=(("", "{}"), ("rm -rf /", "{}")))
    with scripted_model([odd, DONE], [Reply("Sorry.")]) as script:
        await ask(assistant, "Do it")
    names = [
        each["function"]["name"] for message in script.requests[1]["messages"] for each in message.get("tool_calls", ())
    ]
    assert names == ["unnamed", "rm_-rf__"]


async def test_no_more_calls_are_carried_out_at_once_than_allowed(assistant: Graph) -> None:
    many = Reply(calls=tuple(call("calculate", expression=f"{number}+1") for number in range(MAX_PARALLEL + 2)))
    with scripted_model([many, DONE], [Reply("Many.")]):
        values = await ask(assistant, "Calculate!")
    statuses = sorted(result.status for result in results_of(values, "calculate"))
    assert statuses == ["error"] * 2 + ["success"] * MAX_PARALLEL


async def test_arguments_of_any_length_do_not_reach_a_tool(assistant: Graph) -> None:
    long = Reply(calls=(call("calculate", expression="1+" * 20_000 + "1"),))
    with scripted_model([long, DONE], [Reply("No.")]):
        values = await ask(assistant, "Calculate!")
    (result,) = results_of(values, "calculate")
    assert "too long" in str(result.content)


async def test_one_failed_call_takes_no_other_with_it(assistant: Graph) -> None:
    mixed = Reply(
        calls=(
            call("calculate", expression="1/0"),
            call("search_documents", query="x"),
            call("calculate", expression="6*7"),
        )
    )
    with scripted_model([mixed, DONE], [GOOD]) as script:
        values = await ask(assistant, "What is 6*7?")
    told = [message["content"] for message in script.requests[1]["messages"] if message["role"] == "tool"]
    assert told[0] == "Error: division by zero"
    assert "no documents can be searched here" in told[1]
    assert told[2] == "6*7 = 42"
    assert values["answer"]["confidence"] == 0.33


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
    ],
)
def test_the_time_that_a_service_asks_for_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert understand(refused(429, headers)).retry_after == seconds


def test_a_date_to_come_back_at_is_read() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (understand(refused(503, {"retry-after": at})).retry_after or 0) <= 30


@pytest.mark.parametrize(
    ("error", "is_passing"),
    [
        (lambda: refused(429), True),
        (lambda: refused(500), True),
        (lambda: refused(408), True),
        (lambda: refused(429, code="insufficient_quota"), False),
        (lambda: refused(400), False),
        (lambda: refused(401), False),
        (TimeoutError, True),
        (lambda: httpx2.ReadError("gone"), True),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Callable[[], Exception], is_passing: bool) -> None:
    assert understand(error()).is_passing is is_passing


def test_pauses_grow_and_are_never_the_same() -> None:
    pauses = [[pause(attempt, None) for _ in range(20)] for attempt in range(8)]
    assert all(0.25 * 2**attempt <= each <= 0.5 * 2**attempt for attempt in range(4) for each in pauses[attempt])
    assert max(pauses[7]) <= 8
    assert all(len(set(each)) > 1 for each in pauses)
    assert all(3 <= pause(0, 3.0) <= 3.5 for _ in range(20))
