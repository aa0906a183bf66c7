"""Owns the checks of the whole workflow: a question goes in, cited answers come out, step by step and in a stream."""

import re
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from threadline.checkpoints.pool import Pool
from threadline.graphs.allowlist import schema_allowlist
from threadline.graphs.assistant import documents
from threadline.graphs.assistant.documents import DocumentIndex
from threadline.graphs.assistant.graph import graph as shipped
from threadline.graphs.assistant.ingestion import ingest_path
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant.conversations import answer_of, ask, decide, listen, on_thread, results_of
from threadline.tests.source import ROOT


async def test_an_answer_cites_the_passage_it_comes_from(
    assistant: Graph, index: DocumentIndex, handbook: Path
) -> None:
    values = await ask(assistant, "When do we deploy?")
    path = (handbook / "handbook.md").as_posix()
    assert answer_of(values).startswith("We deploy every Friday at noon.")
    (citation,) = values["citations"]
    assert (citation["path"], citation["position"], citation["heading"]) == (path, 2, "Handbook \u203a Deploying")
    assert f"[{citation['number']}]" in answer_of(values).split("\n\nSources:")[0]
    assert answer_of(values).endswith(f"Sources:\n[{citation['number']}] Handbook \u203a Deploying: {path}, passage 2")
    assert citation in values["sources"]


async def test_each_citation_of_our_own_documents_points_at_a_passage_that_says_it(
    pool: Pool, assistant: Graph
) -> None:
    await ingest_path(pool, ROOT / "docs")
    documents.connect(pool)
    values = await ask(assistant, "Why does a stream never talk to the worker? Why is langgraph pinned exactly?")
    body, _, listed = answer_of(values).partition("\n\nSources:\n")
    passages = {source["number"]: re.sub(r"[\s*|]+", " ", source["content"]) for source in values["citations"]}
    paragraphs = re.findall(r"([^\n]+) \[(\d+)\]", body)
    assert len(passages) >= 2
    assert {int(number) for _, number in paragraphs} == set(passages)
    for text, number in paragraphs:
        first_words = re.sub(r"[\s:;|]+", " ", " ".join(text.split()[:3]))
        assert first_words in re.sub(r"[:;]", "", passages[int(number)]), text
    assert len(listed.splitlines()) == len(passages)


async def test_the_parts_of_a_question_are_looked_up_side_by_side(assistant: Graph, index: DocumentIndex) -> None:
    question = {"messages": [{"role": "user", "content": "When do we deploy? What is in the kitchen? What is 6*7?"}]}
    tasks = [
        part
        async for part in assistant.astream(question, on_thread(), stream_mode="tasks")
        if isinstance(part, dict) and part["name"] == "tools"
    ]
    started, finished = (["input" in part for part in tasks], ["result" in part for part in tasks])
    assert started == [True] * 3 + [False] * 3
    assert finished == [False] * 3 + [True] * 3
    values = (await assistant.aget_state(on_thread())).values
    assert [(call["step"], call["tool"]) for call in values["plan"]] == [
        (1, "search_documents"),
        (1, "search_documents"),
        (1, "calculate"),
    ]
    assert "6*7 = 42." in answer_of(values)
    assert {Path(source["path"]).name for source in values["citations"]} == {"handbook.md", "snacks.txt"}


async def test_the_answer_streams_word_by_word_and_adds_up_to_the_message(
    assistant: Graph, index: DocumentIndex
) -> None:
    heard = await listen(assistant, "When do we deploy?")
    chunks = [message for message, metadata in heard if metadata["langgraph_node"] == "responder"]
    others = [message for message, metadata in heard if metadata["langgraph_node"] != "responder"]
    assert len(chunks) > 10
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    answer = (await assistant.aget_state(on_thread())).values["messages"][-1]
    assert "".join(str(chunk.content) for chunk in chunks) == answer.content
    assert {chunk.id for chunk in chunks} == {answer.id}
    assert "Sources:" in answer.content
    assert answer.response_metadata == {"model_name": "threadline-offline", "offline": True}
    assert [type(message) for message in others] == [AIMessage, ToolMessage]


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol on Pregel is experimental")
async def test_the_stream_of_protocol_version_three_carries_the_same_answer(
    assistant: Graph, index: DocumentIndex
) -> None:
    question = {"messages": [{"role": "user", "content": "When do we deploy?"}]}
    run = await assistant.astream_events(question, on_thread(), version="v3")
    texts = [await message.text async for message in run.messages]
    assert texts[-1] == answer_of(dict(await run.output() or {}))


async def test_a_turn_begins_with_a_clean_plan_and_remembers_the_conversation(
    assistant: Graph, index: DocumentIndex
) -> None:
    await ask(assistant, "When do we deploy?")
    values = await ask(assistant, "What is 6*7?")
    assert [call["tool"] for call in values["plan"]] == ["calculate"]
    assert (values["steps"], values["sources"], values["citations"]) == (2, [], [])
    assert answer_of(values) == "6*7 = 42."
    assert len([message for message in values["messages"] if message.type == "human"]) == 2


async def test_a_failing_tool_is_told_to_the_model_and_the_rest_goes_on(assistant: Graph) -> None:
    values = await ask(assistant, "When do we deploy? What is 1/0? What is 6*7?")
    (search,) = results_of(values, "search_documents")
    failed, worked = results_of(values, "calculate")
    assert search.status == failed.status == "error"
    assert "connected no document index" in str(search.content)
    assert failed.content == "Error: division by zero"
    assert worked.status == "success"
    for part in ("calculate(1/0) failed: division by zero.", "6*7 = 42.", "no documents can be searched here"):
        assert part in answer_of(values)


async def test_a_database_that_fails_is_a_tool_error_too(assistant: Graph, index: DocumentIndex, pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("drop table document_chunks")
    values = await ask(assistant, "When do we deploy?")
    (search,) = results_of(values, "search_documents")
    assert search.status == "error"
    assert "document_chunks" in str(search.content)
    assert "failed" in answer_of(values)


async def test_settings_come_from_the_context_or_the_configurable_values(assistant: Graph) -> None:
    question = {"messages": [{"role": "user", "content": "What is 6*7?"}]}
    with pytest.raises(ValueError, match="max_steps must be a whole number from 1 to 50, got 0"):
        await ask(assistant, "What is 6*7?", context={"max_steps": 0})
    with pytest.raises(ValueError, match="token_delay must be a number of seconds from 0 to 5, got 'slow'"):
        await assistant.ainvoke(question, on_thread("2", token_delay="slow"))
    values = await ask(assistant, "What is 6*7?", thread="3", context={"token_delay": 0.0001, "max_steps": 1})
    assert answer_of(values) == "6*7 = 42."


async def test_a_run_without_a_message_is_told_what_to_send(assistant: Graph) -> None:
    with pytest.raises(ValueError, match=r'send \{"messages"'):
        await assistant.ainvoke({"messages": []}, on_thread())


async def test_a_strict_serialiser_keeps_everything_over_an_interrupt(
    assistant: Graph, index: DocumentIndex, caplog: pytest.LogCaptureFixture
) -> None:
    strict = JsonPlusSerializer(allowed_msgpack_modules=schema_allowlist(shipped))
    assistant.checkpointer = InMemorySaver(serde=strict)
    await ask(assistant, "When do we deploy? Save a note: Fridays")
    values = await decide(assistant, True)
    assert [type(message) for message in values["messages"]] == [
        HumanMessage,
        AIMessage,
        ToolMessage,
        ToolMessage,
        AIMessage,
    ]
    assert values["citations"]
    assert caplog.records == []


def test_schemas_show_the_messages_and_the_settings() -> None:
    assert list(shipped.get_input_jsonschema()["properties"]) == ["messages"]
    assert set((shipped.get_context_jsonschema() or {})["properties"]) == {
        "max_steps",
        "max_tokens_per_run",
        "token_delay",
    }
    assert {"messages", "plan", "sources", "citations"} <= set(shipped.get_output_jsonschema()["properties"])
    drawn = {(edge.source, edge.target) for edge in shipped.get_graph().edges}
    assert {("planner", "tools"), ("tools", "planner"), ("planner", "responder")} <= drawn
