"""Owns the reading of PDF and HTML, each document in a process of its own: one that was made to take for ever, or all
memory, harms nobody else. What is in a document is left to `pdf` and `hypertext`.
"""

import asyncio
import json
import sys
from datetime import timedelta
from enum import StrEnum
from io import BytesIO
from typing import BinaryIO

from threadline.graphs.assistant.passages import Piece, SplitDocument, UnreadableDocument

DEADLINE = timedelta(seconds=60)
MEMORY = 1024**3


class Format(StrEnum):
    """What can be read here."""

    HTML = "html"
    PDF = "pdf"


async def read_document(
    kind: Format, source: BinaryIO | bytes, name: str, *, charset: str | None = None, deadline: timedelta = DEADLINE
) -> SplitDocument:
    """The passages of an open file or of bytes, in bounded time and 1 GB of memory. Raises UnreadableDocument.

    `name` is the title of a document that has none; `charset` is what the document is in if it does not say so.
    """
    reading = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "threadline.graphs.assistant.reading", kind, name, charset or ""),
        stdin=asyncio.subprocess.PIPE if isinstance(source, bytes) else source,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            said, _ = await reading.communicate(source if isinstance(source, bytes) else None)
    except TimeoutError:
        raise UnreadableDocument(f"reading it took more than {deadline.total_seconds():g} seconds") from None
    finally:
        if reading.returncode is None:
            reading.kill()
            await reading.wait()
    return _understood(said)


def _understood(said: bytes) -> SplitDocument:
    if not said:
        raise UnreadableDocument(f"reading it failed; it may need more than {MEMORY // 1024**2} MB of memory")
    found = json.loads(said)
    if "reason" in found:
        raise UnreadableDocument(found["reason"])
    return SplitDocument(found["title"], tuple(Piece(*piece) for piece in found["pieces"]))


def _main(kind: str, name: str, charset: str) -> None:
    """Print what the document at standard input holds, as JSON."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        split = _split(Format(kind), name, charset or None)
        found = {"title": split.title, "pieces": [[piece.heading, piece.content, piece.page] for piece in split.pieces]}
    except UnreadableDocument as problem:
        found = {"reason": str(problem)}
    except MemoryError:
        found = {"reason": f"reading it takes more than {MEMORY // 1024**2} MB of memory"}
    print(json.dumps(found))


def _split(kind: Format, name: str, charset: str | None) -> SplitDocument:
    # Imported in the process that reads, and only what this document needs.
    if kind is Format.PDF:
        from threadline.graphs.assistant.pdf import split_pdf

        return split_pdf(sys.stdin.buffer if sys.stdin.seekable() else BytesIO(sys.stdin.buffer.read()), name)
    from threadline.graphs.assistant.decoding import declared_charset, decode
    from threadline.graphs.assistant.hypertext import split_html

    content = sys.stdin.buffer.read()
    return split_html(decode(content, charset or declared_charset(content)), name)


if __name__ == "__main__":
    _main(*sys.argv[1:])
