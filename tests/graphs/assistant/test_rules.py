"""Owns the checks of the offline plan: which calls a question makes, and which it must not make."""

from typing import Any

import pytest

from threadline.graphs.assistant.rules import MAX_CALLS, plan_calls


def search(query: str) -> tuple[str, dict[str, Any]]:
    return "search_documents", {"query": query}


def calculate(expression: str) -> tuple[str, dict[str, Any]]:
    return "calculate", {"expression": expression}


def note(title: str, text: str) -> tuple[str, dict[str, Any]]:
    return "save_note", {"title": title, "text": text}


@pytest.mark.parametrize(
    ("question", "calls"),
    [
        ("Why does a stream never talk to the worker?", [search("stream never talk worker")]),
        ("What is 12 * 31?", [calculate("12 * 31")]),
        ("12*31", [calculate("12*31")]),
        ("Please compute sqrt(2) * 10.", [calculate("sqrt(2) * 10")]),
        ("How much is 2^10 =", [calculate("2^10")]),
        ("What is 1/0?", [calculate("1/0")]),
        ("What is GPT-4?", [search("gpt-4")]),
        ("What happened on 2026-11-23?", [search("happened 2026-11-23")]),
        ("What is the 24/7 support?", [search("24 support")]),
        (
            "What is a lease and how do I add a migration? Also calculate 3*7",
            [search("lease"), search("add migration"), calculate("3*7")],
        ),
        ("bread and butter", [search("bread butter")]),
        ("Remember that the deploy is on Friday", [note("The deploy is on Friday", "the deploy is on Friday")]),
        ("note: buy milk", [note("Buy milk", "buy milk")]),
        ('Save a note titled "Deploys": on Fridays at noon', [note("Deploys", "on Fridays at noon")]),
        ("please make a note about 3 * 4 apples", [note("3 * 4 apples", "3 * 4 apples")]),
        (
            "Compute 6*7 and save a note: the answer is 42",
            [calculate("6*7"), note("The answer is 42", "the answer is 42")],
        ),
        ("How do I save a note?", [search("save note")]),
        ("hello", []),
        ("", []),
        ("Thank you!", []),
    ],
)
def test_a_question_makes_the_calls_a_person_would_make(question: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    assert plan_calls(question) == calls


def test_the_number_of_calls_is_bounded_and_none_is_made_twice() -> None:
    questions = "? ".join(f"What is thing{number}" for number in range(50))
    assert len(plan_calls(questions)) == MAX_CALLS
    assert plan_calls("What is a lease? What is a lease?") == [search("lease")]
