"""Owns the structured answer: what was said, what it cites, and how well it is backed. Writing it is left to the
responder.
"""

import re
from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from threadline.graphs.assistant.citations import CITED_TOOLS, cited_sources
from threadline.graphs.assistant.state import Answer, Source, StopReason

_PARAGRAPH_END = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+]|[0-9]+[.)])\s)")
_TOKEN = re.compile(r"[^\W_]+(?:[.,][0-9]+)*")
# Planning that was cut short may have missed what would have changed the answer.
_CUT_SHORT = 0.5


def structure_answer(
    reply: AIMessage, text: str, turn: Sequence[BaseMessage], sources: Sequence[Source], stop_reason: str
) -> Answer:
    """The answer of a turn; `text` is the reply's without the list of sources."""
    refused = "refusal" in reply.additional_kwargs
    return Answer(
        text=text,
        citations=cited_sources(text, sources),
        confidence=0.0 if refused else confidence(text, turn, sources, stop_reason),
        refused=refused,
    )


def confidence(text: str, turn: Sequence[BaseMessage], sources: Sequence[Source], stop_reason: str) -> float:
    """How well an answer is backed, from 0 to 1: not whether it is true, but how much of it can be looked up.

    It is the share of its paragraphs that cite a source there is, or give a result of another tool; times the share
    of the tool calls that succeeded in the end; and half of that if planning was cut short.
    """
    results = [message for message in turn if isinstance(message, ToolMessage)]
    told = [_tokens(str(each.text)) for each in results if each.name not in CITED_TOOLS and each.status == "success"]
    paragraphs = [paragraph for paragraph in _PARAGRAPH_END.split(text) if _tokens(paragraph)]
    backed = [paragraph for paragraph in paragraphs if _is_backed(paragraph, told, sources)]
    if not backed:
        return 0.0
    share = len(backed) / len(paragraphs) * _share_that_succeeded(turn)
    return round(share if stop_reason == StopReason.DONE else share * _CUT_SHORT, 2)


def _is_backed(paragraph: str, told: Sequence[list[str]], sources: Sequence[Source]) -> bool:
    if cited_sources(paragraph, sources):
        return True
    said = set(_tokens(paragraph))
    # A result ends with its value: "6*7 = 42".
    return any(result and result[-1] in said for result in told)


def _share_that_succeeded(turn: Sequence[BaseMessage]) -> float:
    """Of the calls, how many succeeded at last: one that failed and was corrected in a later step is no failure."""
    step, successes, failures = 0, list[tuple[int, str | None]](), list[tuple[int, str | None]]()
    for message in turn:
        if isinstance(message, AIMessage):
            step += 1
        elif isinstance(message, ToolMessage):
            (failures if message.status == "error" else successes).append((step, message.name))
    lasting = [
        (failed_in, name)
        for failed_in, name in failures
        if not any(name == other and step > failed_in for step, other in successes)
    ]
    return len(successes) / (len(successes) + len(lasting)) if successes else 0.0


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())
