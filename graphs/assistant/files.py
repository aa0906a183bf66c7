"""Owns which files can be documents, and their way into passages; what is known of them is left to `ingestion`."""

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from threadline.graphs.assistant.decoding import decode
from threadline.graphs.assistant.markdown import split_markdown, split_text
from threadline.graphs.assistant.passages import SplitDocument, UnreadableDocument
from threadline.graphs.assistant.reading import Format, read_document

MAX_BYTES = 20 * 1024 * 1024
MAX_PDF_BYTES = 100 * 1024 * 1024

# Raise it with any change to how documents are cut, so that the next ingestion renews them all.
_SPLITTER = "2"

_TEXTS: Mapping[str, Callable[[str, str], SplitDocument]] = {
    ".md": split_markdown,
    ".markdown": split_markdown,
    ".txt": split_text,
}
_FORMATS = {".htm": Format.HTML, ".html": Format.HTML, ".xhtml": Format.HTML, ".pdf": Format.PDF}
READABLE = frozenset({*_TEXTS, *_FORMATS})


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What a file holds: the hash of its content, and its passages unless the hash was known."""

    content_hash: str
    split: SplitDocument | None


def find_files(root: Path) -> Iterator[Path]:
    """The files below a folder that are not hidden, or the file itself.

    Raises OSError for a folder that cannot be listed: passed over, it would look as if its files had vanished.
    """
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


async def read_file(file: Path, known: str | None) -> ReadFile:
    """Read a file whose suffix is in READABLE, unless its content has the hash `known`. Raises UnreadableDocument.

    Memory is bounded by the largest size that is allowed: 20 MB; PDF may have 100, but is read elsewhere.
    """
    try:
        content_hash = await asyncio.to_thread(_hash, file)
        split = None if content_hash == known else await _split(file)
    except OSError as error:
        raise UnreadableDocument(f"it cannot be read: {error.strerror}") from None
    return ReadFile(content_hash, split)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _hash(file: Path) -> str:
    limit = MAX_PDF_BYTES if _FORMATS.get(file.suffix.lower()) is Format.PDF else MAX_BYTES
    try:
        file.as_posix().encode()
    except UnicodeEncodeError:
        raise UnreadableDocument("its name is not UTF-8") from None
    about = file.stat()
    # Opening a pipe would wait for somebody to write into it.
    if not stat.S_ISREG(about.st_mode):
        raise UnreadableDocument("it is no regular file")
    if about.st_size > limit:
        raise UnreadableDocument(f"it is larger than {limit // 1024**2} MB")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.sha256(_SPLITTER.encode())).hexdigest()


async def _split(file: Path) -> SplitDocument:
    kind = _FORMATS.get(file.suffix.lower())
    if kind is None:
        return await asyncio.to_thread(_split_text, file)
    with file.open("rb") as stream:
        return await read_document(kind, stream, file.stem)


def _split_text(file: Path) -> SplitDocument:
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES)
    return _TEXTS[file.suffix.lower()](decode(content), file.stem)
