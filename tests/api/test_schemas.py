"""Bodies that are refused, and in which words."""

import asyncio
from typing import Any

import pytest
from fastapi import Request

from threadline.api.dependencies import MAX_DEPTH, JsonBody, parse_json
from threadline.api.errors import InvalidRequest
from threadline.api.schemas import Body, RunCreate
from threadline.api.thread_schemas import HistorySearch, StateUpdate, ThreadCreate, ThreadSearch
from threadline.runs.errors import Invalid


def read(model: type[Body], text: bytes) -> Body:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": text, "more_body": False}

    return asyncio.run(JsonBody(model)(Request({"type": "http", "headers": []}, receive)))


def refusal(model: type[Body], text: bytes) -> str:
    with pytest.raises((InvalidRequest, Invalid)) as refused:
        read(model, text)
    return str(refused.value)


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b'{"a":NaN}', b"\xff", b"{'a':1}", b'{"a":1}x'])
def test_what_is_no_json_is_refused_in_the_words_of_the_contract(text: bytes) -> None:
    assert refusal(RunCreate, text) == "Invalid JSON in request body"


def test_half_of_a_surrogate_pair_is_refused_and_named() -> None:
    told = refusal(RunCreate, b'{"assistant_id":"a","input":"\\ud800"}')
    assert told.startswith("Invalid JSON in request body: a \\u escape is half of a surrogate pair")


def test_json_that_is_too_deep_to_write_again_is_refused() -> None:
    deep = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    with pytest.raises(InvalidRequest, match="nested more than 200 levels deep"):
        parse_json(deep)
    assert parse_json(deep[1:-1]) is not None


def test_json_with_many_brackets_side_by_side_is_taken() -> None:
    assert len(parse_json(b"[" + b"[]," * 1000 + b"{}]")) == 1001


@pytest.mark.parametrize(
    ("model", "text", "told"),
    [
        (RunCreate, b"[]", "body: must be an object, got []"),
        (RunCreate, b"{}", "assistant_id: missing, but required"),
        (RunCreate, b'{"assistant_id":7}', "assistant_id: Input should be a valid string, got 7"),
        (RunCreate, b'{"assistant_id":""}', "assistant_id: String should have at least 1 character, got ''"),
        (ThreadCreate, b'{"thread_id":"x"}', "thread_id: Input should be a valid UUID"),
        (ThreadCreate, b'{"metadata":[]}', "metadata: must be an object, got []"),
        (ThreadCreate, b'{"if_exists":"maybe"}', "if_exists: Input should be 'raise' or 'do_nothing', got 'maybe'"),
        (ThreadCreate, b'{"ttl":5}', "ttl: must be an object, got 5"),
        (ThreadCreate, b'{"ttl":{"ttl":1e300}}', "ttl.ttl: Input should be less than or equal to"),
        (ThreadCreate, b'{"supersteps":[{}]}', "supersteps.0.updates: missing, but required"),
        (ThreadSearch, b'{"extract":{"n":"foo.n"}}', "extract: Extract path 'foo.n' must start with one of: config, "),
        (ThreadSearch, b'{"extract":{"bad alias!":"values.n"}}', "extract: Extract key 'bad alias!' must be a valid "),
        (ThreadSearch, b'{"limit":0}', "limit: Input should be greater than or equal to 1, got 0"),
        (ThreadSearch, b'{"limit":"9"}', "limit: Input should be a valid integer, got '9'"),
        (ThreadSearch, b'{"status":"odd"}', "status: Input should be 'idle', 'busy', 'interrupted' or 'error'"),
        (ThreadSearch, b'{"select":["x"]}', "select.0: Input should be 'thread_id'"),
        (StateUpdate, b'{"values":7}', "values: must be an object of values, or a list of such objects, got 7"),
        (HistorySearch, b'{"before":7}', "before: must be a checkpoint's id, or an object"),
    ],
)
def test_a_refusal_names_field_problem_and_what_was_given(model: type[Body], text: bytes, told: str) -> None:
    assert refusal(model, text).startswith(told)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (b'"stream_mode":"all"', "stream_mode.0: Input should be 'values', 'updates'"),
        (b'"stream_mode":7', "stream_mode: Input should be a valid list, got 7"),
        (b'"interrupt_before":"plan"', 'interrupt_before: must be "*" for all nodes, or a list of node names'),
        (b'"stream_subgraphs":"yes"', "stream_subgraphs: Input should be a valid boolean, got 'yes'"),
        (b'"after_seconds":-1', "after_seconds: Input should be greater than or equal to 0, got -1"),
        (b'"after_seconds":1e300', "after_seconds: Input should be less than or equal to"),
        (b'"config":{"recursion_limit":0}', "config.recursion_limit: Input should be greater than or equal to 1"),
        (b'"config":{"configurable":[]}', "config.configurable: must be an object, got []"),
        (b'"multitask_strategy":"queue"', "multitask_strategy: Input should be 'reject', 'enqueue'"),
        (b'"command":{"goto":7}', "command.goto: must be a node's name, a {node, input} object, or a list"),
        (b'"webhook":""', "webhook: Value should have at least 1 item"),
        (b'"feedback_keys":"a"', "feedback_keys: Input should be a valid list, got"),
        (b'"metadata":{"a":{"b":"x\\u0000"}}', "metadata.a.b holds U+0000"),
    ],
)
def test_a_run_is_refused_for_a_field_it_cannot_keep(field: bytes, told: str) -> None:
    assert refusal(RunCreate, b'{"assistant_id":"echo",' + field + b"}").startswith(told)


def test_many_problems_are_told_in_one_line_and_not_without_end() -> None:
    told = refusal(ThreadSearch, b'{"ids":[1,2,3,4,5,6,7,8]}')
    assert told.count("Input should be a valid string") == 5
    assert told.endswith("and 3 more")


def test_a_long_value_is_not_repeated_to_its_end() -> None:
    assert len(refusal(ThreadCreate, b'{"thread_id":"' + b"x" * 10_000 + b'"}')) < 300


def test_names_nobody_knows_are_ignored_and_nulls_are_defaults() -> None:
    body = RunCreate.model_validate({"assistant_id": "a", "whatever": 1, "metadata": None, "webhook": None})
    assert body.metadata == {}
    assert RunCreate.model_validate({"assistant_id": "a", "stream_mode": []}).stream_mode == ["values"]
