"""Owns how the text below a heading becomes passages: by its paragraphs, then by its sentences. Where headings are is
left to the modules of the formats.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PASSAGE_LENGTH = 1200

_FENCE = re.compile(r" {0,3}(?P<marks>`{3,}|~{3,})")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s)|(?<=\n)")
_SEPARATOR = " \u203a "


class UnreadableDocument(ValueError):
    """Something cannot be a document; the message is the reason given to people, and begins with "it"."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage of a document. `heading` is the way to it, from the title down; `page` counts from 1."""

    heading: str
    content: str
    page: int | None = None


@dataclass(frozen=True, slots=True)
class SplitDocument:
    """A document's title and its passages in reading order."""

    title: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Lines below a heading of a level from 1 to 6, and all headings above them; level 0 has none."""

    level: int
    headings: tuple[str, ...]
    lines: list[str]


class Outline:
    """Collects a document's sections while it is read from top to bottom."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []
        self.sections = [Section(0, (), [])]

    def open(self, level: int, heading: str) -> None:
        """Begin a section; headings of the same or a deeper level end."""
        self._open = [*(above for above in self._open if above[0] < level), (level, heading)]
        self.sections.append(Section(level, tuple(text for _, text in self._open), []))

    def add(self, line: str) -> None:
        """Add a line to the section that was begun last; an empty one ends a paragraph."""
        self.sections[-1].lines.append(line)


def split_sections(title: str, sections: Sequence[Section]) -> SplitDocument:
    """Split sections into passages of about 1,200 characters; fenced code stays whole while it fits."""
    levels_after = [*(section.level for section in sections[1:]), 0]
    pieces = [
        Piece(_way(title, section.headings), content)
        for section, level_after in zip(sections, levels_after, strict=True)
        for content in _contents(section, level_after)
    ]
    return SplitDocument(title, tuple(pieces))


def split_lines(lines: Sequence[str]) -> Iterator[str]:
    """Paragraphs, joined until another one would make the passage too long."""
    passage = ""
    for block in _blocks(lines):
        for part in _cut(block):
            if passage and len(passage) + len(part) > PASSAGE_LENGTH:
                yield passage
                passage = ""
            passage = f"{passage}\n\n{part}" if passage else part
    if passage:
        yield passage


def fence_after(line: str, fence: str | None) -> str | None:
    """The marks of the code fence that is open after this line, if `fence` was open before it."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if fence is None:
        return match["marks"]
    closes = match["marks"].startswith(fence) and not line.strip().strip(fence[0])
    return None if closes else fence


def _way(title: str, headings: Sequence[str]) -> str:
    below = headings[1:] if headings and headings[0] == title else headings
    return _SEPARATOR.join([title, *below])


def _contents(section: Section, level_after: int) -> Iterator[str]:
    """A section's passages; a heading with nothing below it is its own text, so that it can be found."""
    yield from split_lines(section.lines)
    if section.headings and level_after <= section.level and not any(line.strip() for line in section.lines):
        yield section.headings[-1]


def _blocks(lines: Sequence[str]) -> Iterator[str]:
    block: list[str] = []
    fence: str | None = None
    for line in lines:
        fence = fence_after(line, fence)
        if line.strip() or fence is not None:
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def _cut(block: str) -> Iterator[str]:
    """A block in parts that fit: at the ends of sentences or lines where there are some, else anywhere."""
    if len(block) <= PASSAGE_LENGTH:
        yield block
        return
    part = ""
    for sentence in _SENTENCE_END.split(block):
        for piece in [sentence[i : i + PASSAGE_LENGTH] for i in range(0, len(sentence), PASSAGE_LENGTH)]:
            if part and len(part) + len(piece) > PASSAGE_LENGTH:
                yield part.strip()
                part = ""
            part += piece
    if part.strip():
        yield part.strip()
