"""Owns the fingerprint of the code a graph is made of: its file, and the files of the project that this one imports.

Imports are read, not carried out, and looked up in the project's own folders, so that every process and machine
with the same files finds the same. What is installed (packages), and files that are no Python, are not in it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from threadline.graphs.versions import LENGTH

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]+)|import[ \t]+([^\n#]+))", re.MULTILINE
)
_NAME = re.compile(r"[\w.]+")

_Imports = tuple[tuple[int, str], ...]  # how many dots, and the name behind them


def code_hash(file: Path, folders: Sequence[Path], package: tuple[str, Path] | None = None) -> str:
    """Return the fingerprint of `file` and of what it imports from `folders`; of nothing, if there is no such file.

    `package` is the name and the folder of a package whose folder is not called like it. Files are told by their
    place in their folder, so that it does not matter where the project lies.
    """
    found: dict[str, str] = {}
    asked: set[tuple[Path | None, int, str]] = set()
    pending = [file.resolve()] if file.is_file() else []
    while pending:
        current = pending.pop()
        place = _place(current, folders)
        if place in found:
            continue
        stat = current.stat()
        found[place], imports = _read(current, stat.st_mtime_ns, stat.st_size)
        for dots, name in imports:
            question = (current.parent if dots else None, dots, name)
            if question not in asked:
                asked.add(question)
                pending.extend(_resolve(current, dots, name, folders, package))
    text = "\n".join(f"{place} {digest}" for place, digest in sorted(found.items()))
    return sha256(text.encode()).hexdigest()[:LENGTH]


def _place(file: Path, folders: Sequence[Path]) -> str:
    """The file's name in the innermost of the folders it lies in."""
    inside = [file.relative_to(folder).as_posix() for folder in folders if file.is_relative_to(folder)]
    return min(inside, key=len, default=file.name)


@lru_cache(maxsize=4096)
def _read(file: Path, _changed: int, _size: int) -> tuple[str, _Imports]:
    """Return the digest of a file as it was then, and the imports in it."""
    content = file.read_bytes()
    text = content.decode("utf-8", "replace").replace("\\\n", " ")
    return sha256(content).hexdigest(), tuple(dict.fromkeys(_imports(text)))


def _imports(text: str) -> Iterator[tuple[int, str]]:
    """Yield what is imported; a name behind `import` may be a module, too.

    Words of a docstring may be taken for an import: that counts only where there is such a file.
    """
    for dots, module, names, plain in _IMPORT.findall(text):
        if plain:
            yield from ((0, name) for name in _NAME.findall(plain))
            continue
        yield len(dots), module
        prefix = f"{module}." if module else ""
        yield from ((len(dots), f"{prefix}{name}") for name in _NAME.findall(names))


def _resolve(
    file: Path, dots: int, name: str, folders: Sequence[Path], package: tuple[str, Path] | None
) -> Iterator[Path]:
    """Yield the files that an import of this name runs: its module, and the packages above it."""
    parts = [part for part in name.split(".") if part]
    if dots:
        bases = [file.parents[dots - 1]] if dots <= len(file.parents) else []
    elif package is not None and parts[:1] == [package[0]]:
        bases, parts = [package[1]], parts[1:]
    else:
        bases = list(folders)
    for base in bases:
        if not parts or (base / parts[0]).is_dir() or (base / f"{parts[0]}.py").is_file():
            yield from _files(base, parts, folders)


def _files(base: Path, parts: Sequence[str], folders: Sequence[Path]) -> Iterator[Path]:
    for depth in range(len(parts) + 1):
        below = base.joinpath(*parts[:depth])
        candidates = [below / "__init__.py"] if depth == 0 else [below / "__init__.py", below.with_suffix(".py")]
        for candidate in candidates:
            if candidate.is_file() and any(candidate.is_relative_to(folder) for folder in folders):
                yield candidate.resolve()
