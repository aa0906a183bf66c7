"""Owns the proof that a client's command becomes LangGraph's, or is refused with what it may be."""

from typing import Any

import pytest
from langgraph.types import Command, Send

from threadline.runs.commands import read_command
from threadline.runs.errors import Invalid


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({}, {}),
        ({"update": None, "resume": None, "goto": None}, {}),
        ({"bogus": 1}, {}),
        ({"resume": {"id": 1}}, {"resume": {"id": 1}}),
        ({"resume": False}, {"resume": False}),
        ({"update": {"n": 1}}, {"update": {"n": 1}}),
        ({"update": [["n", 1], ["n", 2]]}, {"update": [("n", 1), ("n", 2)]}),
        ({"update": ["a", "b"]}, {"update": ["a", "b"]}),
        ({"goto": "plan"}, {"goto": ("plan",)}),
        ({"goto": {"node": "plan", "input": 1}}, {"goto": (Send("plan", 1),)}),
        ({"goto": ["plan", {"node": "act"}]}, {"goto": ("plan", Send("act", None))}),
    ],
)
def test_a_command_in_json_is_read(command: Any, expected: dict[str, Any]) -> None:
    assert read_command(command) == Command(**expected)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("resume", "command must be an object of update, resume and goto, not 'resume'"),
        ({"goto": 5}, r"command\.goto must name nodes or hold \{node, input\} objects, not 5"),
        ({"goto": [{"input": 1}]}, r"command\.goto must name nodes"),
    ],
)
def test_a_command_that_is_none_is_refused(command: Any, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint):
        read_command(command)
