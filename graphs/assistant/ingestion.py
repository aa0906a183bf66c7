"""Owns the way of files into the document index: what changed since the last time, and what became of each file.

Searching them is left to `documents`; reading them to `files`.
"""

import asyncio
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from threadline.graphs.assistant.documents import STATEMENTS
from threadline.graphs.assistant.files import READABLE, find_files, read_file
from threadline.graphs.assistant.passages import SplitDocument, UnreadableDocument

logger = logging.getLogger("threadline.documents")

# Stems of a language that PostgreSQL has no filler words of would be wrong more often than none.
UNKNOWN_LANGUAGE = "simple"
# English, the poorest in them of what was tried, has 36 % filler words; Polish, unknown, shares 19 % with it.
FILLER_SHARE = 0.2
# Fewer prove nothing: "dog" is one of the Danish ones.
FILLER_WORDS = 3
_SAMPLE = 1000
_WORD = re.compile(r"[^\W\d_]+")


class Outcome(StrEnum):
    """What became of one document."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    SKIPPED = "skipped"
    PASSED_OVER = "passed over"


@dataclass(frozen=True, slots=True)
class IngestedDocument:
    """One document's path in the index, what became of it, and why if it was skipped or passed over."""

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
        printable = path.encode("utf-8", "backslashreplace").decode()
        if file.suffix.lower() not in READABLE:
            kind = file.suffix.lower() or "without a suffix"
            self.note(IngestedDocument(printable, Outcome.PASSED_OVER, reason=f"files {kind} are not read"))
            return
        try:
            read = await read_file(file, known)
        except UnreadableDocument as problem:
            self.note(IngestedDocument(printable, Outcome.SKIPPED, reason=str(problem)))
            return
        if read.split is None:
            self.note(IngestedDocument(path, Outcome.UNCHANGED))
            return
        async with self.pool.connection() as connection, connection.transaction():
            outcome = await _put(connection, path, read.content_hash, read.split)
        chunks = 0 if outcome is Outcome.UNCHANGED else len(read.split.pieces)
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
    pool: AsyncConnectionPool,
    path: Path,
    *,
    on_files: Callable[[int], None] | None = None,
    on_document: Callable[[IngestedDocument], None] | None = None,
) -> IngestReport:
    """Bring the index in line with a file or folder of Markdown, HTML, plain text and PDF.

    Only changed files are written, each in a transaction of its own; documents whose file has vanished from
    the folder are removed. Hidden files and folders are not looked at, and files of other types are passed over;
    files that are too large (20 MB; PDF 100 MB), binary, broken or unreadable are skipped with a warning and keep what
    was known of them. It may run at the same time in several processes.

    Documents are known by the path as given (`docs` makes `docs/guide.md`), so always name a folder the same way.
    `on_files` is told once how many files there are, `on_document` what became of each, and then what was removed.
    Raises FileNotFoundError if there is nothing at `path`, PermissionError for a folder that cannot be listed.
    """
    root = _normal(path)
    if not await asyncio.to_thread(root.exists):
        raise FileNotFoundError(f"there is no file or folder {root}; nothing was ingested and nothing removed")
    # Read before the walk: what another process adds meanwhile is not in it, and so never taken for vanished.
    known = await _known(pool, root)
    ingestion = _Ingestion(pool, on_document)
    files = await asyncio.to_thread(lambda: sorted(find_files(root)))
    if on_files is not None:
        on_files(len(files))
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


async def _put(connection: AsyncConnection[TupleRow], path: str, content_hash: str, split: SplitDocument) -> Outcome:
    language = await _language(connection, split)
    document = {"path": path, "title": split.title, "content_hash": content_hash, "language": language}
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
        "pages": [piece.page for piece in split.pieces],
    }
    await connection.execute(STATEMENTS["put_chunks"], pieces)
    return Outcome.ADDED if is_new else Outcome.UPDATED


async def _language(connection: AsyncConnection[TupleRow], split: SplitDocument) -> str:
    """The text search configuration of a document's language, by the filler words of its beginning."""
    words: list[str] = []
    for piece in split.pieces:
        words.extend(_WORD.findall(piece.content.lower()))
        if len(words) > _SAMPLE:
            break
    sample = {"words": words[:_SAMPLE], "share": FILLER_SHARE, "least": FILLER_WORDS}
    cursor = await connection.execute(STATEMENTS["detect_language"], sample)
    row = await cursor.fetchone()
    return str(row[0]) if row else UNKNOWN_LANGUAGE
