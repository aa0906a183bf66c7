"""Owns what a person would read of an HTML page: its title, headings, paragraphs, lists, tables and code.

HTML can be made so that any correct parser takes for ever: `reading` keeps it in bounds.
"""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from threadline.graphs.assistant.passages import Outline, SplitDocument, split_sections

_TITLE_LENGTH = 200
_UNSEEN = frozenset(
    {*("script", "style", "noscript", "template", "svg", "iframe", "object", "nav", "footer", "head")}
    | {*("button", "select", "textarea")}
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    {*("address", "article", "aside", "blockquote", "body", "details", "dialog", "div", "fieldset", "form", "header")}
    | {*("hgroup", "hr", "main", "p", "pre", "br", "search", "section", "summary", "center", "menu")}
    | {*("ul", "ol", "li", "dl", "dt", "dd", "figure", "figcaption")}
    | {*("table", "caption", "thead", "tbody", "tfoot", "tr")}
)
_CELLS = frozenset({"td", "th"})
_SPACE = re.compile(r"\s+")


def split_html(text: str, name: str) -> SplitDocument:
    """Split an HTML page into passages below its headings, without menus, footers and scripts.

    The title is the page's own, else its first heading, else `name`. Broken HTML is read as browsers do.
    """
    page = LexborHTMLParser(text)
    root = page.css_first("main") or page.css_first("article") or page.body
    reader = _Reader()
    if root is not None:
        for node, is_entered in _walk(root):
            reader.enter(node) if is_entered else reader.leave(node)
    reader.end_block()
    own = page.css_first("title")
    first = next((section.headings[0] for section in reader.outline.sections if section.headings), None)
    title = (own and _one_line(own.text())) or first or name
    return split_sections(title[:_TITLE_LENGTH], reader.outline.sections)


class _Reader:
    """Turns the beginnings and ends of elements into lines; the lines look like Markdown, as in other documents."""

    def __init__(self) -> None:
        self.outline = Outline()
        self._text: list[str] = []
        self._cells: list[str] = []
        self._code = 0

    def enter(self, node: LexborNode) -> None:
        """Take an element's beginning, or a text."""
        if node.is_text_node:
            self._text.append(node.text_content or "")
        elif node.tag in _CELLS:
            self._text.clear()
        elif node.tag in _BLOCKS or node.tag in _HEADINGS:
            self.end_block()
            if node.tag == "pre":
                self._code += 1
            elif node.tag == "li":
                self._text.append("- ")

    def leave(self, node: LexborNode) -> None:
        """Take an element's end."""
        tag = node.tag or ""
        if tag in _HEADINGS:
            heading = _one_line("".join(self._text))
            self._text.clear()
            if heading:
                self.outline.open(_HEADINGS[tag], heading[:_TITLE_LENGTH])
        elif tag in _CELLS:
            self._cells.append(_one_line("".join(self._text)))
            self._text.clear()
        elif tag in _BLOCKS:
            self.end_block()
            if tag in {"table", "ul", "ol"}:
                self.outline.add("")
            elif tag == "pre":
                self._code -= 1

    def end_block(self) -> None:
        """Write down what was read since the last block."""
        text = "".join(self._text)
        self._text.clear()
        if self._cells:
            self.outline.add(f"| {' | '.join(self._cells)} |")
            self._cells.clear()
        if self._code and text.strip():
            for line in ("```", *text.strip("\n").split("\n"), "```", ""):
                self.outline.add(line)
        elif line := _one_line(text):
            self.outline.add(line)
            if not line.startswith("- "):
                self.outline.add("")


def _walk(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Each node at its beginning (True) and its end (False), in reading order; nothing of what is not seen."""
    node, below = root, True
    while True:
        if below:
            yield node, True
            child = None if node.tag in _UNSEEN and node.mem_id != root.mem_id else node.child
            if child is not None:
                node = child
                continue
        yield node, False
        if node.mem_id == root.mem_id:
            return
        below = node.next is not None
        following = node.next or node.parent
        if following is None:
            return
        node = following


def _one_line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()
