"""Owns the checks of the structured answer: what it holds, and that its confidence follows what can be looked up."""

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from threadline.graphs.assistant.answers import confidence
from threadline.graphs.assistant.documents import DocumentIndex
from threadline.graphs.assistant.state import Source
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant.conversations import ask

SOURCE = Source(path="a.md", title="A", heading="A", position=1, content="text", number=1)


def result(text: str, name: str = "calculate", status: str = "success") -> ToolMessage:
    return ToolMessage(text, tool_call_id="1", name=name, status=status)


FOUND = result("A: text", "search_documents")
FAILED = result("Error: no", "search_documents", "error")


@pytest.mark.parametrize(
    ("text", "turn", "expected"),
    [
        ("Hello.", [], 0.0),
        ("It is so [1].", [FOUND], 1.0),
        ("It is so [1].\n\nAnd something else.", [FOUND], 0.5),
        ("It is so [7].", [FOUND], 0.0),
        ("It is 42.", [result("6*7 = 42")], 1.0),
        ("It is 43.", [result("6*7 = 42")], 0.0),
        ("It is so [1].", [FOUND, FAILED], 0.5),
        ("It is so [1].", [AIMessage(""), FAILED, AIMessage(""), FOUND], 1.0),
        ("It is so [1].\n- and so [1]\n- but not so", [FOUND], 0.67),
        ("", [FOUND], 0.0),
    ],
)
def test_confidence_is_the_share_that_can_be_looked_up(text: str, turn: list[BaseMessage], expected: float) -> None:
    assert confidence(text, turn, [SOURCE], "done") == expected
    assert confidence(text, turn, [SOURCE], "max_steps") == pytest.approx(expected / 2, abs=0.011)


async def test_the_state_holds_the_answer_in_its_parts(assistant: Graph, index: DocumentIndex) -> None:
    values = await ask(assistant, "When do we deploy? What is 6*7?")
    answer = values["answer"]
    assert answer["text"].startswith("6*7 = 42.\n\nWe deploy every Friday at noon.")
    assert "Sources:" not in answer["text"]
    assert answer["citations"] == values["citations"]
    assert answer["confidence"] == 1.0
    assert answer["refused"] is False
    assert values["stop_reason"] == "done"


async def test_a_new_turn_forgets_the_answer_before(assistant: Graph, index: DocumentIndex) -> None:
    await ask(assistant, "When do we deploy?")
    values = await ask(assistant, "hello")
    assert values["answer"]["confidence"] == 0.0
    assert values["answer"]["citations"] == []
