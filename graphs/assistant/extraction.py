"""Owns the offline model's answers: sentences taken from what the tools found, each with the number of its source."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage

from threadline.graphs.assistant.citations import CITED_TOOLS
from threadline.graphs.assistant.state import Source
from threadline.graphs.assistant.words import key_words, stem

SENTENCES_PER_SEARCH = 3
NOTHING_TO_DO = "Ask me about your documents, give me a calculation, or tell me what to note."

# A sentence this short says little without the next one; one that begins like this says nothing without the last.
_SHORT = 80
_POINTS_BACK = re.compile(r"(?:it|its|this|that|these|those|they|their|he|she|so|then|such)\b", re.IGNORECASE)

_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1[`~]*\s*$|\Z)", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"^\s*(?:[-*+]|[0-9]+[.)])\s+|^\s*>\s?", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"\*\*|(?<![\w*])\*(?=\w)|(?<=\w)\*(?![\w*])")
_BLOCK_END = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+]|[0-9]+[.)])\s)|\n(?=\s*\|)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z])")
_NUMBER_IN_BRACKETS = re.compile(r"\[(\d+)\]")


class _Place(NamedTuple):
    """Where a sentence stands: the number of its source and its order in it, with a gap between paragraphs."""

    number: int
    order: int


def extract_answer(turn: Sequence[BaseMessage], sources: Sequence[Source]) -> str:
    """An answer made of this turn's tool results; `[n]` cites the source with that number.

    `turn` is what happened since the question: the calls and their results.
    """
    calls = {call["id"]: call for message in turn if isinstance(message, AIMessage) for call in message.tool_calls}
    results = [message for message in turn if isinstance(message, ToolMessage)]
    searched = [result for result in results if result.name in CITED_TOOLS and result.status == "success"]
    parts = [_told(result, calls.get(result.tool_call_id)) for result in results if result not in searched]
    queries = [_asked(calls[result.tool_call_id]) for result in searched if result.tool_call_id in calls]
    parts.extend(_found(queries, sources))
    return "\n\n".join(parts) or NOTHING_TO_DO


def _asked(call: ToolCall) -> str:
    """The words a search or a page was asked for; a page that was asked for nothing is its own subject."""
    return str(call["args"].get("query") or call["args"].get("about") or call["args"].get("url") or "")


def _told(result: ToolMessage, call: ToolCall | None) -> str:
    text = str(result.text).strip()
    if result.status == "error" and call is not None:
        asked = ", ".join(str(value) for value in call["args"].values())
        text = f"{call['name']}({asked}) failed: {text.removeprefix('Error: ')}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _found(queries: Sequence[str], sources: Sequence[Source]) -> Iterator[str]:
    sentences = {
        _Place(source["number"], order): sentence
        for source in sources
        for order, sentence in _sentences(source["content"])
    }
    headings = {source["number"]: source["heading"] for source in sources}
    best = {query: _best_places(query, sentences, headings) for query in queries}
    chosen = {place for places in best.values() for place in places}
    yield from _paragraphs(_with_neighbours(chosen, sentences), sentences)
    for query in queries:
        if not best[query]:
            yield f"I found nothing about \u201c{query}\u201d in the documents."


def _best_places(query: str, sentences: Mapping[_Place, str], headings: Mapping[int, str]) -> list[_Place]:
    """The sentences that hold most of the query's words; a word in the heading above counts half."""
    wanted = {stem(word) for word in key_words(query)}
    scores: dict[_Place, float] = {}
    for place, sentence in sentences.items():
        here = wanted & {stem(word) for word in key_words(sentence)}
        above = wanted & {stem(word) for word in key_words(headings[place.number])}
        scores[place] = len(here) + 0.5 * len(above - here)
    best = max(scores.values(), default=0)
    close = [place for place, score in scores.items() if score >= max(0.7 * best, 0.5)]
    return sorted(close, key=lambda place: (-scores[place], place))[:SENTENCES_PER_SEARCH]


def _with_neighbours(chosen: set[_Place], sentences: Mapping[_Place, str]) -> list[_Place]:
    wanted = set(chosen)
    for place in chosen:
        if _POINTS_BACK.match(sentences[place]):
            wanted.add(_Place(place.number, place.order - 1))
        if len(sentences[place]) < _SHORT:
            wanted.add(_Place(place.number, place.order + 1))
    return sorted(place for place in wanted if place in sentences)


def _paragraphs(places: Sequence[_Place], sentences: Mapping[_Place, str]) -> Iterator[str]:
    """One paragraph for each source, with its marker in the last sentence."""
    for number, group in groupby(places, key=lambda place: place.number):
        text = " ".join(sentences[place] for place in group)
        yield f"{text[:-1]} [{number}]{text[-1]}"


def _sentences(content: str) -> Iterator[tuple[int, str]]:
    order = 0
    for block in _BLOCK_END.split(_FENCED.sub("\n\n", content)):
        plain = _EMPHASIS.sub("", _LINK.sub(r"\1", _ITEM.sub("", block))).strip()
        text = _table_row(plain) if plain.startswith("|") else " ".join(plain.split())
        for sentence in _SENTENCE_END.split(text):
            if len(key_words(sentence)) >= 2:
                ended = sentence if sentence.endswith((".", "!", "?")) else f"{sentence.rstrip(':,;')}."
                yield order, _NUMBER_IN_BRACKETS.sub(r"(\1)", ended)
                order += 1
        order += 1


def _table_row(row: str) -> str:
    """A table's row as a sentence: its first cell, then the others; empty for the line below a heading."""
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    if all(set(cell) <= set("-: ") for cell in cells):
        return ""
    return f"{cells[0]}: {'; '.join(cell for cell in cells[1:] if cell)}"
