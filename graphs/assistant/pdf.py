"""Owns the text of a PDF file, page by page. It takes any time and memory: `reading` keeps it in bounds."""

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pypdf import PdfReader
from pypdf.errors import FileNotDecryptedError, PyPdfError

from threadline.graphs.assistant.decoding import clean
from threadline.graphs.assistant.passages import Piece, SplitDocument, UnreadableDocument, split_lines

MAX_TEXT = 20 * 1024 * 1024

_BROKEN_WORD = re.compile(r"(?<=[a-z\u00df-\u00ff])-\n(?=[a-z\u00df-\u00ff])")
_WRAPPED = re.compile(r"[ \t]*\n[ \t]*(?=\S)")
_PARAGRAPH_END = re.compile(r"\n\s*\n")


def split_pdf(stream: BinaryIO, name: str) -> SplitDocument:
    """Split a PDF into passages of about 1,200 characters, each with its page. The title is its own, else `name`.

    Raises UnreadableDocument.
    """
    try:
        reader = PdfReader(stream)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableDocument("it is encrypted")
        own = reader.metadata.title if reader.metadata else None
        title = clean(str(own or "")).strip() or name
        pieces = tuple(_pieces(title, (page.extract_text() for page in reader.pages)))
    except (UnreadableDocument, MemoryError):
        raise
    except FileNotDecryptedError:
        raise UnreadableDocument("it is encrypted") from None
    except PyPdfError as error:
        raise UnreadableDocument(f"it is no intact PDF: {error}") from None
    # A broken file makes the library fail in ways that it does not name.
    except Exception as error:
        raise UnreadableDocument(f"it is no intact PDF: {type(error).__name__}") from None
    if not pieces:
        raise UnreadableDocument("it holds no text; scanned pages would have to be recognised first")
    return SplitDocument(title, pieces)


def _pieces(title: str, pages: Iterable[str]) -> Iterator[Piece]:
    length = 0
    for number, text in enumerate(pages, start=1):
        length += len(text)
        if length > MAX_TEXT:
            raise UnreadableDocument(f"it holds more than {MAX_TEXT // 1024**2} MB of text")
        for passage in split_lines(_unwrapped(clean(text)).split("\n")):
            yield Piece(title, passage, number)


def _unwrapped(text: str) -> str:
    """The text of a page with each paragraph on one line."""
    paragraphs = _PARAGRAPH_END.split(_BROKEN_WORD.sub("", text))
    return "\n\n".join(_WRAPPED.sub(" ", paragraph).strip() for paragraph in paragraphs)
