"""Owns which documents the demo reads, and a question that they answer."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import threadline
from threadline.commands.exits import CommandFailed
from threadline.graphs.assistant.files import READABLE, read_file
from threadline.graphs.assistant.passages import UnreadableDocument

_ROOT = Path(threadline.__file__).parent
_OWN = (Path("README.md"), Path("docs"))
_OWN_QUESTION = "Why does the lease belong to the process?"


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
    """Return what the largest document that can be read is about: its title."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    readable = [each for each in files if each.suffix.lower() in READABLE]
    for file in sorted(readable, key=lambda file: -file.stat().st_size):
        try:
            read = asyncio.run(read_file(file, None))
        except UnreadableDocument:
            continue
        title = read.split.title if read.split else file.stem
        return title if title != file.stem else file.stem.replace("_", " ").replace("-", " ")
    raise CommandFailed(f"There is no document that can be read ({', '.join(sorted(READABLE))}) at {path}.")
