"""Owns the checks of the assistant with an OpenAI-compatible model, over real HTTP to a scripted server."""

import json

import pytest
from langchain_core.messages import AIMessageChunk, ToolMessage

from threadline.graphs.assistant import model
from threadline.graphs.assistant.documents import DocumentIndex
from threadline.graphs.assistant.offline_model import OfflineChatModel
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant.conversations import answer_of, ask, listen, on_thread, results_of
from threadline.tests.graphs.assistant.open_ai import Reply, scripted_model

DONE = Reply("DONE")


def call(tool: str, **arguments: object) -> tuple[str, str]:
    return tool, json.dumps(arguments)


async def test_a_configured_model_plans_calls_and_writes_a_cited_answer(assistant: Graph, index: DocumentIndex) -> None:
    calls = Reply(calls=(call("search_documents", query="deploy"), call("calculate", expression="6*7")))
    with scripted_model([calls, DONE], [Reply("On Fridays at noon [1]. The result is 42 [9].")]) as script:
        values = await ask(assistant, "When do we deploy, and what is 6*7?")
    planning, again, writing = script.requests
    names = {tool["function"]["name"] for tool in planning["tools"]}
    assert names == {"search_documents", "fetch_page", "calculate", "save_note"}
    assert [message["role"] for message in again["messages"][-3:]] == ["assistant", "tool", "tool"]
    assert "tools" not in writing
    assert "[1] Handbook \u203a Deploying" in writing["messages"][0]["content"]
    assert planning["path"] == "/v1/chat/completions"
    assert planning["authorization"] == "Bearer key of the test"
    assert planning["model"] == "scripted"
    (citation,) = values["citations"]
    assert (citation["number"], citation["heading"]) == (1, "Handbook \u203a Deploying")
    assert answer_of(values).startswith("On Fridays at noon [1]. The result is 42 [9].\n\nSources:\n[1] Handbook")


async def test_the_models_tokens_stream_and_end_with_the_list_of_sources(
    assistant: Graph, index: DocumentIndex
) -> None:
    calls = Reply(calls=(call("search_documents", query="deploy"),))
    with scripted_model([calls, DONE], [Reply("Every Friday at noon, says the handbook [1].")]) as script:
        heard = await listen(assistant, "When do we deploy?")
    chunks = [message for message, metadata in heard if metadata["langgraph_node"] == "responder"]
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert [str(chunk.content) for chunk in chunks if chunk.content][:3] == ["Every ", "Friday ", "at "]
    answer = (await assistant.aget_state(on_thread())).values["messages"][-1]
    assert "".join(str(chunk.content) for chunk in chunks) == answer.content
    assert answer.content.endswith("passage 2")
    assert {chunk.id for chunk in chunks} == {answer.id}
    assert [request.get("stream") for request in script.requests] == [True, True, True]
    assert "DONE" not in [message.content for message, _ in heard]


def endless() -> list[Reply]:
    """A model that finds something new to calculate every time."""
    return [Reply(calls=(call("calculate", expression=f"6*{number}"),)) for number in range(1, 60)]


async def test_planning_ends_at_the_bound_and_answers_with_what_it_has(assistant: Graph) -> None:
    with scripted_model(endless(), [Reply("It is 42.")]) as script:
        values = await ask(assistant, "What is 6*7?", context={"max_steps": 3})
        assert len(script.requests) == 4
        assert values["steps"] == 3
        assert values["stop_reason"] == "max_steps"
        assert len(results_of(values, "calculate")) == 3
        assert answer_of(values) == "It is 42."
        assert "may be incomplete" in script.requests[-1]["messages"][0]["content"]
        values = await ask(assistant, "And again?", thread="2")
        assert values["steps"] == 6


@pytest.mark.parametrize("limit", [5, 6, 7, 8])
async def test_the_recursion_limit_ends_planning_before_it_ends_the_run(assistant: Graph, limit: int) -> None:
    config = on_thread()
    config["recursion_limit"] = limit
    with scripted_model(endless(), [Reply("It is 42.")]):
        values = await assistant.ainvoke({"messages": [("user", "What is 6*7?")]}, config)
    assert values["messages"][-1].content == "It is 42."
    assert values["stop_reason"] == "recursion_limit"


async def test_a_model_learns_from_a_failed_call_and_does_better(assistant: Graph) -> None:
    wrong = Reply(calls=(call("calculate", expression="six times seven"), call("unknown_tool", x=1)))
    missing = Reply(calls=(call("calculate"),))
    right = Reply(calls=(call("calculate", expression="6*7"),))
    with scripted_model([wrong, missing, right, DONE], [Reply("It is 42.")]) as script:
        values = await ask(assistant, "What is 6*7?")
    results = [message for message in values["messages"] if isinstance(message, ToolMessage)]
    assert [result.status for result in results] == ["error", "error", "error", "success"]
    assert "is not an arithmetic expression" in str(results[0].content)
    assert "unknown_tool is not a valid tool" in str(results[1].content)
    assert "expression" in str(results[2].content)
    told = [message["content"] for message in script.requests[1]["messages"] if message["role"] == "tool"]
    assert told == [results[0].content, results[1].content]


async def test_arguments_that_are_no_json_are_sent_back_to_the_model(assistant: Graph) -> None:
    broken = Reply(calls=(("calculate", '{"expression": '), call("calculate", expression="1+1")))
    only_broken = Reply(calls=(("calculate", "6*7"),))
    right = Reply(calls=(call("calculate", expression="6*7"),))
    with scripted_model([broken, only_broken, right, DONE], [Reply("It is 42.")]) as script:
        values = await ask(assistant, "What is 6*7?")
    results = results_of(values, "calculate")
    assert [result.status for result in results] == ["error", "success", "error", "success"]
    assert "not valid JSON" in str(results[0].content)
    for request in script.requests:
        called = [call["id"] for message in request["messages"] for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in request["messages"] if message["role"] == "tool"]
        assert sorted(called) == sorted(answered)


def test_the_offline_model_is_the_default_and_a_key_is_never_shown() -> None:
    settings = model.ModelSettings(api_key="sk-secret", model="small", base_url="http://127.0.0.1:9/v1")
    assert isinstance(model.chat_model(token_delay=0.5), OfflineChatModel)
    model.configure(settings)
    configured = model.chat_model()
    assert configured is model.chat_model(token_delay=0.5)
    assert not isinstance(configured, OfflineChatModel)
    assert "sk-secret" not in f"{settings!r} {configured!r} {configured}"
    model.configure(None)
    assert isinstance(model.chat_model(), OfflineChatModel)
