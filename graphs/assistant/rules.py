"""Owns the offline model's plan: which tool calls a question asks for, found by rules instead of understanding."""

import re
from typing import Any

from threadline.graphs.assistant.arithmetic import ArithmeticProblem, NotArithmetic, evaluate
from threadline.graphs.assistant.words import key_words

MAX_CALLS = 4

PlannedArguments = tuple[str, dict[str, Any]]

_QUESTION_WORDS = (
    "what|how|why|when|where|who|which|calculate|compute|find|search|tell|explain|is|are|does|do|can|show|list"
)
_PART_END = re.compile(
    rf"[?;\n]+ | \.\s+ | ,?\s+\b(?:and|also|then|plus)\s+(?=(?:{_QUESTION_WORDS})\b)", re.IGNORECASE | re.VERBOSE
)
_NOTE = re.compile(
    r"""
    (?:^ | [.!?;,\n] | \b(?:and|then)\b) \s*
    (?:(?:please|and|then|also)\s+)*
    (?:save | remember | note(?!s) | (?:make|take|write|add)(?=\s+(?:down|(?:an?|the|this|my)\s+(?:new\s+)?note)\b)) \b
    (?:\s+(?:down|an?|the|this|my|new|note)\b)*
    (?:\s+(?:that|to|about|saying)\b)?
    \s* [:,]? \s*
    (?P<text>\S.*)
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_TITLED = re.compile(
    r"(?:titled|called)\s+[\"\u201c]?(?P<title>[^\"\u201d:\n]{1,80})[\"\u201d]?\s*[:,]\s*(?P<text>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_ASKING = re.compile(
    r"^\s*(?:(?:please|now|and|then|also)\s+)*"
    r"(?:calculate|compute|evaluate|solve|what(?:'s|\s+is)|how\s+much\s+is)?\s*[:=]?\s*",
    re.IGNORECASE,
)
_OPERATOR = re.compile("[-+*/%^\u00d7\u00b7\u00f7\u2212\u2013(]")
_ADDRESS = re.compile(r"https?://[^\s<>\"']+", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}")


def plan_calls(question: str) -> list[PlannedArguments]:
    """The tool calls a question asks for, by name and arguments: at most four, none if it says nothing."""
    note = _NOTE.search(question)
    rest = question[: note.start()] if note else question
    calls = [call for part in _PART_END.split(rest) if (call := _call(part)) is not None]
    if note is not None:
        calls.append(("save_note", _note(note["text"].strip())))
    distinct = [call for index, call in enumerate(calls) if call not in calls[:index]]
    return distinct[:MAX_CALLS]


def _call(part: str) -> PlannedArguments | None:
    if address := _ADDRESS.search(part):
        about = key_words(part[: address.start()] + part[address.end() :])
        return "fetch_page", {"url": address[0].rstrip(".,;:!)"), "about": " ".join(about)}
    expression = _ASKING.sub("", part).strip(" .!=")
    if _is_arithmetic(expression):
        return "calculate", {"expression": expression}
    words = key_words(part)
    return ("search_documents", {"query": " ".join(words)}) if words else None


def _is_arithmetic(expression: str) -> bool:
    if not _OPERATOR.search(expression) or _DATE.search(expression):
        return False
    try:
        evaluate(expression)
    except NotArithmetic:
        return False
    except ArithmeticProblem:
        # A division by zero is still arithmetic: the tool's answer says what is wrong with it.
        return True
    return True


def _note(text: str) -> dict[str, Any]:
    titled = _TITLED.match(text)
    if titled is not None:
        return {"title": titled["title"].strip(), "text": titled["text"].strip()}
    title = " ".join(text.split()[:6]).rstrip(".,;:!?")[:80]
    return {"title": title[:1].upper() + title[1:], "text": text}
