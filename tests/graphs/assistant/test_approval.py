"""Owns the checks of the approval: nothing is saved before a person agrees, and each answer does what it says."""

from typing import Any

import pytest
from langgraph.store.base import BaseStore

from threadline.graphs.assistant import documents
from threadline.graphs.assistant.documents import DocumentIndex
from threadline.graphs.assistant.tools import NOTES
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant.conversations import Values, answer_of, ask, decide, on_thread, results_of

REQUEST = "Save a note titled Deploys: on Fridays at noon"
ARGS = {"title": "Deploys", "text": "on Fridays at noon"}


def question_of(values: Values) -> dict[str, Any]:
    (question,) = values["__interrupt__"]
    value: dict[str, Any] = question.value
    return value


async def saved(graph: Graph) -> list[dict[str, Any]]:
    assert isinstance(graph.store, BaseStore)
    return [item.value for item in await graph.store.asearch(NOTES)]


async def test_saving_waits_for_a_person_and_says_what_it_would_save(assistant: Graph) -> None:
    values = await ask(assistant, REQUEST)
    assert question_of(values) == {
        "action": "save_note",
        "args": ARGS,
        "options": ["approve", "reject", "edit"],
    }
    assert await saved(assistant) == []


@pytest.mark.parametrize("answer", [True, "approve", " Approve ", {"type": "approve"}])
async def test_an_approved_note_is_saved_once(assistant: Graph, answer: object) -> None:
    await ask(assistant, REQUEST)
    values = await decide(assistant, answer)
    assert await saved(assistant) == [ARGS]
    assert answer_of(values) == "The note 'Deploys' is saved."


@pytest.mark.parametrize(
    ("answer", "why"),
    [(False, ""), ("reject", ""), ({"type": "reject", "reason": "too early"}, " The reason given: too early")],
)
async def test_a_rejected_note_is_not_saved_and_the_model_is_told(assistant: Graph, answer: object, why: str) -> None:
    await ask(assistant, REQUEST)
    values = await decide(assistant, answer)
    assert await saved(assistant) == []
    (result,) = results_of(values, "save_note")
    assert result.content == f"The note 'Deploys' was not saved: it was rejected.{why}"
    assert "was not saved" in answer_of(values)


async def test_an_edited_note_is_saved_as_edited(assistant: Graph) -> None:
    await ask(assistant, REQUEST)
    values = await decide(assistant, {"type": "edit", "args": {"text": "on Mondays"}})
    assert await saved(assistant) == [{"title": "Deploys", "text": "on Mondays"}]
    assert answer_of(values) == "The note 'Deploys' is saved."


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("perhaps", "answer true, false"),
        (7, "answer true, false"),
        ({"decision": "approve"}, "answer true, false"),
        ({"type": "edit"}, "an edit needs its new values"),
        ({"type": "edit", "args": {"colour": "red"}}, "an edit may change title, text"),
        ({"type": "edit", "args": {"text": " "}}, "not empty"),
        ({"type": "edit", "args": {"text": 5}}, "not empty"),
    ],
)
async def test_an_answer_that_is_no_decision_is_asked_for_again(assistant: Graph, answer: object, problem: str) -> None:
    await ask(assistant, REQUEST)
    asked_again = question_of(await decide(assistant, answer))
    assert problem in asked_again.pop("problem")
    assert asked_again == {"action": "save_note", "args": ARGS, "options": ["approve", "reject", "edit"]}
    assert await saved(assistant) == []
    await decide(assistant, True)
    assert await saved(assistant) == [ARGS]


async def test_calls_beside_a_waiting_one_are_not_repeated(assistant: Graph, index: DocumentIndex) -> None:
    await ask(assistant, f"When do we deploy? {REQUEST}")
    before = (await assistant.aget_state(on_thread())).tasks
    assert [bool(task.interrupts) for task in before] == [False, True]
    # A search that ran again would fail now.
    documents.disconnect()
    (found,) = results_of(await decide(assistant, True), "search_documents")
    assert found.status == "success"


async def test_notes_of_two_threads_do_not_replace_each_other(assistant: Graph) -> None:
    for thread in ("1", "2"):
        await ask(assistant, REQUEST, thread=thread)
        await decide(assistant, True, thread=thread)
    assert await saved(assistant) == [ARGS, ARGS]


async def test_without_a_store_nobody_is_asked_to_approve(assistant: Graph) -> None:
    assistant.store = None
    values = await ask(assistant, REQUEST)
    assert "__interrupt__" not in values
    assert "there is no store in this process" in answer_of(values)
