"""Owns the way of files into the document index: which are read, which are left out and why, and what changed.

Searching them is left to `documents`; cutting them into passages to `markdown`.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from threadline.graphs.assistant.documents import STATEMENTS
from threadline.graphs.assistant.markdown import SplitDocument, split_markdown, split_text

logger = logging.getLogger("threadline.documents")

MARKDOWN = frozenset({".md", ".markdown"})
READABLE = MARKDOWN | {".txt"}
MAX_BYTES = 20 * 1024 * 1024

# Raise it with any change to how documents are cut, so that the next ingestion renews them all.
_SPLITTER = "1"


class Outcome(StrEnum):
    """What became of one document."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class IngestedDocument:
    """One document's path in the index, what became of it, and why if it was skipped."""

    path: str
    outcome: Outcome
    chunks: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did, document by document."""

    documents: tuple[IngestedDocument, ...]

    def count(self, outcome: Outcome) -> int:
        """How many documents ended this way."""
        return sum(document.outcome is outcome for document in self.documents)


class _Unreadable(Exception):
    """The file cannot be a document; the message is the reason given to people."""


@dataclass(slots=True)
class _Ingestion:
    pool: AsyncConnectionPool
    on_document: Callable[[IngestedDocument], None] | None
    documents: list[IngestedDocument] = field(default_factory=list)

    def note(self, document: IngestedDocument) -> None:
        self.documents.append(document)
        if document.outcome is Outcome.SKIPPED:
            logger.warning("document.skipped", extra={"path": document.path, "reason": document.reason})
        if self.on_document is not None:
            self.on_document(document)

    async def take(self, file: Path, path: str, known: str | None) -> None:
        try:
            content_hash, split = await asyncio.to_thread(_read, file, known)
        except _Unreadable as problem:
            printable = path.encode("utf-8", "backslashreplace").decode()
            self.note(IngestedDocument(printable, Outcome.SKIPPED, reason=str(problem)))
            return
        if split is None:
            self.note(IngestedDocument(path, Outcome.UNCHANGED))
            return
        async with self.pool.connection() as connection, connection.transaction():
            outcome = await _put(connection, path, content_hash, split)
        chunks = 0 if outcome is Outcome.UNCHANGED else len(split.pieces)
        self.note(IngestedDocument(path, outcome, chunks))

    async def forget(self, vanished: dict[str, str]) -> None:
        if not vanished:
            return
        parameters = {"paths": list(vanished), "content_hashes": list(vanished.values())}
        async with self.pool.connection() as connection:
            cursor = await connection.execute(STATEMENTS["forget_documents"], parameters)
            removed = [path for (path,) in await cursor.fetchall()]
        for path in sorted(removed):
            self.note(IngestedDocument(path, Outcome.REMOVED))


async def ingest_path(
    pool: AsyncConnectionPool, path: Path, *, on_document: Callable[[IngestedDocument], None] | None = None
) -> IngestReport:
    """Bring the index in line with a file or folder of Markdown (.md, .markdown) and text (.txt).

    Only changed files are written, each in a transaction of its own; documents whose file has vanished from
    the folder are removed. Hidden files and folders are passed over; files over 20 MB, not UTF-8, binary or
    unreadable are skipped with a warning and keep what was known of them. It may run at the same time in several
    processes.

    Documents are known by the path as given (`docs` makes `docs/guide.md`), so always name a folder the same way.
    Raises FileNotFoundError if there is nothing at `path`, PermissionError for a folder that cannot be listed.
    """
    root = _normal(path)
    if not await asyncio.to_thread(root.exists):
        raise FileNotFoundError(f"there is no file or folder {root}; nothing was ingested and nothing removed")
    # Read before the walk: what another process adds meanwhile is not in it, and so never taken for vanished.
    known = await _known(pool, root)
    ingestion = _Ingestion(pool, on_document)
    files = await asyncio.to_thread(lambda: sorted(_files(root)))
    for file in files:
        await ingestion.take(file, file.as_posix(), known.get(file.as_posix()))
    present = {file.as_posix() for file in files}
    await ingestion.forget({path: known[path] for path in known if path not in present})
    return IngestReport(tuple(ingestion.documents))


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


async def _known(pool: AsyncConnectionPool, root: Path) -> dict[str, str]:
    prefix = "" if root == Path() else root.as_posix()
    async with pool.connection() as connection:
        cursor = await connection.execute(STATEMENTS["known_documents"], {"prefix": prefix})
        rows = await cursor.fetchall()
    return {path: content_hash for path, content_hash in rows if _lies_below(Path(path), root)}


def _lies_below(path: Path, root: Path) -> bool:
    if root == Path():
        return not path.is_absolute() and path.parts[:1] != ("..",)
    return path.is_relative_to(root)


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in READABLE:
                yield Path(folder, name)


def _refuse(error: OSError) -> None:
    # Passed over, a folder that cannot be listed would look as if all its files had vanished.
    if not isinstance(error, FileNotFoundError):
        raise error


def _read(file: Path, known: str | None) -> tuple[str, SplitDocument | None]:
    """The hash of a file, and its passages unless the hash is the known one. Raises _Unreadable."""
    try:
        file.as_posix().encode()
        if file.stat().st_size > MAX_BYTES:
            raise _Unreadable(f"it is larger than {MAX_BYTES // 1024**2} MB")
        content = file.read_bytes()
    except UnicodeEncodeError:
        raise _Unreadable("its name is not UTF-8") from None
    except OSError as error:
        raise _Unreadable(f"it cannot be read: {error.strerror}") from None
    content_hash = hashlib.sha256(_SPLITTER.encode() + content).hexdigest()
    if content_hash == known:
        return content_hash, None
    split = split_markdown if file.suffix.lower() in MARKDOWN else split_text
    return content_hash, split(_text(content), file.stem)


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _Unreadable("it is not UTF-8 text") from None
    strange = sum(text.count(chr(code)) for code in range(32) if chr(code) not in "\t\n\r\f")
    if strange * 100 > len(text):
        raise _Unreadable("it is binary")
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


async def _put(connection: AsyncConnection[TupleRow], path: str, content_hash: str, split: SplitDocument) -> Outcome:
    document = {"path": path, "title": split.title, "content_hash": content_hash}
    cursor = await connection.execute(STATEMENTS["put_document"], document)
    row = await cursor.fetchone()
    if row is None:
        return Outcome.UNCHANGED
    document_id, is_new = row
    await connection.execute(STATEMENTS["clear_chunks"], {"document_id": document_id})
    pieces = {
        "document_id": document_id,
        "headings": [piece.heading for piece in split.pieces],
        "contents": [piece.content for piece in split.pieces],
    }
    await connection.execute(STATEMENTS["put_chunks"], pieces)
    return Outcome.ADDED if is_new else Outcome.UPDATED
