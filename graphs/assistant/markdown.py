"""Owns where the headings of Markdown and plain text are; cutting what is below them is left to `passages`."""

import re

from threadline.graphs.assistant.passages import Outline, Piece, SplitDocument, fence_after, split_lines, split_sections

_HEADING = re.compile(r" {0,3}(?P<marks>#{1,6})[ \t]+(?P<text>\S.{0,199}?)(?:[ \t]+#+)?[ \t]*$")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<fields>.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE_FIELD = re.compile(r"^title:[ \t]*[\"']?(?P<title>\S.{0,199}?)[\"']?[ \t]*$", re.MULTILINE)


def split_markdown(text: str, name: str) -> SplitDocument:
    """Split Markdown into passages of about 1,200 characters; fenced code stays whole while it fits.

    The title is the front matter's, else the first heading's if it is of the first level, else `name`.
    """
    matter = _FRONT_MATTER.match(text)
    field = _TITLE_FIELD.search(matter["fields"]) if matter else None
    outline = _outline(text[matter.end() :] if matter else text)
    first = next((section for section in outline.sections if section.headings), None)
    title = field["title"] if field else first.headings[0] if first and first.level == 1 else name
    return split_sections(title, outline.sections)


def split_text(text: str, name: str) -> SplitDocument:
    """Split plain text into passages of about 1,200 characters, by its paragraphs. The title is `name`."""
    return SplitDocument(name, tuple(Piece(name, content) for content in split_lines(text.split("\n"))))


def _outline(text: str) -> Outline:
    outline = Outline()
    fence: str | None = None
    for line in text.split("\n"):
        fence = fence_after(line, fence)
        heading = _HEADING.match(line) if fence is None else None
        if heading is None:
            outline.add(line)
        else:
            outline.open(len(heading["marks"]), heading["text"])
    return outline
