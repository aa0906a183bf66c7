"""Owns the way from bytes to text, and the refusal of what is no text; where the bytes come from is left to others."""

import codecs
import re

from threadline.graphs.assistant.passages import UnreadableDocument

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_CONTROLS = [chr(code) for code in range(32) if chr(code) not in "\t\n\r\f"]


def decode(content: bytes, charset: str | None = None) -> str:
    """The text of a file: in the encoding of its first bytes, else in `charset`, else in UTF-8.

    Raises UnreadableDocument if it is in no such encoding, or no text at all.
    """
    mark = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    encoding = mark or charset or "utf-8"
    try:
        text = content.decode(encoding)
    except (UnicodeError, LookupError):
        raise UnreadableDocument(f"it is not {encoding.upper()} text") from None
    if sum(text.count(control) for control in _CONTROLS) * 100 > len(text):
        raise UnreadableDocument("it is binary")
    return clean(text).replace("\r\n", "\n").replace("\r", "\n")


def declared_charset(page: bytes) -> str | None:
    """The encoding that an HTML page says it is in."""
    declared = _CHARSET.search(page[:2048])
    return declared[1].decode("ascii", "replace") if declared else None


def clean(text: str) -> str:
    """The text without what PostgreSQL does not take: NUL, and half of a pair of surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
