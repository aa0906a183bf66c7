"""Owns which documents the demo reads, and a question that they answer."""

import re
from dataclasses import dataclass
from pathlib import Path

import threadline
from threadline.commands.exits import CommandFailed

_ROOT = Path(threadline.__file__).parent
_OWN = (Path("README.md"), Path("docs"))
_OWN_QUESTION = "Why does the lease belong to the process?"
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_READABLE = {".md", ".markdown", ".txt"}


@dataclass(frozen=True, slots=True)
class Documents:
    """What to ingest, seen from `folder`, and what to ask about it."""

    folder: Path
    paths: tuple[Path, ...]
    question: str


def choose_documents(path: Path | None) -> Documents:
    """Return the documents at `path`, or else the project's own. Raises CommandFailed when there are none."""
    if path is not None:
        return Documents(Path.cwd(), (path,), f"What do the documents say about {_find_subject(path)}?")
    present = tuple(each for each in _OWN if (_ROOT / each).exists())
    if not present:
        raise CommandFailed("This installation has no documents of its own. Name some: threadline demo --docs PATH")
    return Documents(_ROOT, present, _OWN_QUESTION)


def _find_subject(path: Path) -> str:
    """Return what the largest document is about, by its first heading."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.suffix.lower() in _READABLE]
    if not files:
        raise CommandFailed(f"There is no Markdown or text (.md, .markdown, .txt) at {path}.")
    largest = max(files, key=lambda file: file.stat().st_size)
    heading = _HEADING.search(largest.read_text("utf-8", "replace"))
    return heading[1] if heading else largest.stem.replace("_", " ").replace("-", " ")
