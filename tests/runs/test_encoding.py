"""Values become JSON once, whatever a node returned."""

from collections import namedtuple
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from langchain_core.messages import AIMessage
from langgraph.types import Interrupt, Send

from threadline.runs.encoding import encode

Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Point(1, 2), {"x": 1, "y": 2}),
        ({1, 2}, [1, 2]),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006+00:00"),
        (b"\x00\xff", "AP8="),
        (Send("node", {"a": 1}), {"node": "node", "input": {"a": 1}}),
        (Interrupt(value="?", id="i"), {"value": "?", "id": "i", "response_schema": None}),
        (ValueError("no"), {"error": "ValueError", "message": "no"}),
        ({3: "three"}, {"3": "three"}),
        ("nul \0 stays", "nul \0 stays"),
    ],
)
def test_values_take_the_form_that_clients_expect(value: object, expected: object) -> None:
    assert orjson.loads(encode({"value": value})) == {"value": expected}


def test_messages_are_dumped_with_their_type() -> None:
    assert orjson.loads(encode(AIMessage("hi", id="1")))["type"] == "ai"


def test_a_lone_surrogate_becomes_a_question_mark_and_spoils_nothing_else() -> None:
    value = {"text": "a\ud800b", "when": datetime(2026, 1, 1, tzinfo=UTC), "big": 2**70, "nan": float("nan")}
    assert encode(value) == b'{"text":"a?b","when":"2026-01-01T00:00:00+00:00","big":1180591620717411303424,"nan":null}'


def test_a_value_without_a_json_form_is_named_by_its_class() -> None:
    with pytest.raises(TypeError, match=r"builtins\.object has no JSON form"):
        encode({"value": [object()]})


def test_a_value_that_contains_itself_is_refused() -> None:
    ring: list[object] = []
    ring.append(ring)
    with pytest.raises(TypeError, match="contains itself"):
        encode(ring)
