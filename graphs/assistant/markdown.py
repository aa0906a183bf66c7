"""Owns how a document becomes passages: by its headings, then by its paragraphs. Where they are kept is left
to `ingestion`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PASSAGE_LENGTH = 1200

_HEADING = re.compile(r" {0,3}(?P<marks>#{1,6})[ \t]+(?P<text>\S.{0,199}?)(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r" {0,3}(?P<marks>`{3,}|~{3,})")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<fields>.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE_FIELD = re.compile(r"^title:[ \t]*[\"']?(?P<title>\S.{0,199}?)[\"']?[ \t]*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s)|(?<=\n)")
_SEPARATOR = " \u203a "


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage of a document. `heading` is the way to it, from the title down, e.g. Guide, Install."""

    heading: str
    content: str


@dataclass(frozen=True, slots=True)
class SplitDocument:
    """A document's title and its passages in reading order."""

    title: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    level: int
    headings: tuple[str, ...]
    lines: list[str]


def split_markdown(text: str, name: str) -> SplitDocument:
    """Split Markdown into passages of about 1,200 characters; fenced code stays whole while it fits.

    The title is the front matter's, else the first heading's if it is of the first level, else `name`.
    """
    matter = _FRONT_MATTER.match(text)
    field = _TITLE_FIELD.search(matter["fields"]) if matter else None
    body = text[matter.end() :] if matter else text
    sections = list(_sections(body))
    first = next((section for section in sections if section.headings), None)
    title = field["title"] if field else first.headings[0] if first and first.level == 1 else name
    levels_after = [*(section.level for section in sections[1:]), 0]
    pieces = [
        Piece(_way(title, section.headings), content)
        for section, level_after in zip(sections, levels_after, strict=True)
        for content in _contents(section, level_after)
    ]
    return SplitDocument(title, tuple(pieces))


def split_text(text: str, name: str) -> SplitDocument:
    """Split plain text into passages of about 1,200 characters, by its paragraphs. The title is `name`."""
    return SplitDocument(name, tuple(Piece(name, content) for content in _passages(text.split("\n"))))


def _way(title: str, headings: Sequence[str]) -> str:
    below = headings[1:] if headings and headings[0] == title else headings
    return _SEPARATOR.join([title, *below])


def _sections(text: str) -> Iterator[_Section]:
    section = _Section(0, (), [])
    open_headings: list[tuple[int, str]] = []
    fence: str | None = None
    for line in text.split("\n"):
        fence = _fence_after(line, fence)
        heading = _HEADING.match(line) if fence is None else None
        if heading is None:
            section.lines.append(line)
            continue
        yield section
        level = len(heading["marks"])
        open_headings = [*(above for above in open_headings if above[0] < level), (level, heading["text"])]
        section = _Section(level, tuple(text for _, text in open_headings), [])
    yield section


def _contents(section: _Section, level_after: int) -> Iterator[str]:
    """A section's passages; a heading with nothing below it is its own text, so that it can be found."""
    yield from _passages(section.lines)
    if section.headings and level_after <= section.level and not any(line.strip() for line in section.lines):
        yield section.headings[-1]


def _fence_after(line: str, fence: str | None) -> str | None:
    """The marks of the code fence that is open after this line."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if fence is None:
        return match["marks"]
    closes = match["marks"].startswith(fence) and not line.strip().strip(fence[0])
    return None if closes else fence


def _passages(lines: Sequence[str]) -> Iterator[str]:
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


def _blocks(lines: Sequence[str]) -> Iterator[str]:
    block: list[str] = []
    fence: str | None = None
    for line in lines:
        fence = _fence_after(line, fence)
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
