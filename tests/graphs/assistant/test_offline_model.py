"""Owns the checks of the offline model: deterministic, streaming word by word, answering only with what was found."""

import time
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from threadline.graphs.assistant.offline_model import MODEL_NAME, OfflineChatModel
from threadline.graphs.assistant.state import Source
from threadline.graphs.assistant.tools import TOOLS, calculate

ABOUT_LEASES = (
    "Every process holds a **lease** of three seconds. It is renewed every half second, see [the docs](x.md) [7].\n\n"
    "- A dead process loses its lease.\n- Walnuts grow on trees.\n\n"
    "| name | value |\n|---|---|\n| LEASE | 3 |\n\n```\nlease = broken code\n```\n"
)


def make_source(number: int, content: str, heading: str = "Guide") -> Source:
    return Source(path="guide.md", title="Guide", heading=heading, position=number, content=content, number=number)


def searched(query: str, sources: list[Source]) -> list[BaseMessage]:
    call = {"name": "search_documents", "args": {"query": query}, "id": "1", "type": "tool_call"}
    return [
        SystemMessage("answer", additional_kwargs={"sources": sources}),
        HumanMessage("What about it?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("found", tool_call_id="1", name="search_documents", artifact=sources),
    ]


def answer(messages: list[BaseMessage]) -> str:
    return str(OfflineChatModel().invoke(messages).text)


def test_the_same_question_makes_the_same_calls_with_the_same_ids() -> None:
    planner = OfflineChatModel().bind_tools(TOOLS)
    first, again, other = (
        planner.invoke([HumanMessage("What is 2*3?", id=message_id)]).tool_calls for message_id in ("a", "a", "b")
    )
    assert first == again
    assert [(call["name"], call["args"]) for call in first] == [("calculate", {"expression": "2*3"})]
    assert first[0]["id"] != other[0]["id"]


def test_only_tools_that_were_bound_are_called() -> None:
    planner = OfflineChatModel().bind_tools([calculate])
    calls = planner.invoke("What is 2*3? What is a lease?").tool_calls
    assert [call["name"] for call in calls] == ["calculate"]


def test_a_planner_with_results_calls_nothing_more() -> None:
    assert OfflineChatModel().bind_tools(TOOLS).invoke(searched("lease", [])).tool_calls == []


def test_an_answer_takes_the_best_sentences_and_cites_each_source() -> None:
    sources = [make_source(1, "Bananas are yellow and long."), make_source(2, ABOUT_LEASES)]
    text = answer(searched("lease process", sources))
    assert "Every process holds a lease of three seconds. It is renewed every half second, see the docs (7)." in text
    assert text.endswith("A dead process loses its lease [2].")
    assert not {word for word in ("Bananas", "Walnuts", "broken", "[1]") if word in text}


def test_a_row_of_a_table_reads_as_a_sentence() -> None:
    source = make_source(1, "| name | value | why |\n|:--|---|---|\n| `LEASE_SECONDS` | 3 | long enough |\n")
    assert answer(searched("lease seconds", [source])) == "`LEASE_SECONDS`: 3; long enough [1]."


def test_nothing_found_and_nothing_asked_are_said_so() -> None:
    assert answer(searched("unicorns", [])) == "I found nothing about \u201cunicorns\u201d in the documents."
    assert answer(searched("unicorns", [make_source(1, "Bananas are yellow.")])).startswith("I found nothing")
    assert answer([HumanMessage("hello")]).startswith("Ask me about your documents")


def test_results_of_other_tools_are_told_as_they_are() -> None:
    calls: list[dict[str, Any]] = [
        {"name": "calculate", "args": {"expression": "1/0"}, "id": "1", "type": "tool_call"},
        {"name": "calculate", "args": {"expression": "6*7"}, "id": "2", "type": "tool_call"},
    ]
    messages = [
        HumanMessage("Calculate!"),
        AIMessage("", tool_calls=calls),
        ToolMessage("Error: division by zero", tool_call_id="1", name="calculate", status="error"),
        ToolMessage("6*7 = 42", tool_call_id="2", name="calculate"),
    ]
    assert answer(messages) == "calculate(1/0) failed: division by zero.\n\n6*7 = 42."


async def test_a_stream_of_words_adds_up_to_the_reply() -> None:
    messages = searched("lease", [make_source(1, ABOUT_LEASES)])
    model = OfflineChatModel()
    whole = await model.ainvoke(messages)
    for chunks in ([chunk async for chunk in model.astream(messages)], list(model.stream(messages))):
        assert len(chunks) > 10
        total = chunks[0]
        for chunk in chunks[1:]:
            total += chunk
        assert total.content == whole.content
        assert total.response_metadata == whole.response_metadata == {"model_name": MODEL_NAME, "offline": True}


async def test_the_delay_between_words_is_the_one_asked_for() -> None:
    started = time.perf_counter()
    chunks = [chunk async for chunk in OfflineChatModel(token_delay=0.005).astream("hello")]
    assert time.perf_counter() - started >= 0.005 * (len(chunks) - 1) > 0.05


async def test_a_streamed_plan_has_the_calls_of_a_whole_one() -> None:
    planner = OfflineChatModel().bind_tools(TOOLS)
    question = [HumanMessage("What is 2*3? What is a lease?", id="a")]
    chunks = [chunk async for chunk in planner.astream(question)]
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert [call for chunk in chunks for call in chunk.tool_calls] == (await planner.ainvoke(question)).tool_calls
