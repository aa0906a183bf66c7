"""Owns the walk over the project's own files for the tests that hold its rules."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
MADE = {"__pycache__", "build", "dist", "node_modules"}


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file: its path from the root, its text and its tree."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The dotted name below `threadline`: `runs.worker`, or `runs` for the folder's own file."""
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")

    def imports(self) -> Iterator[str]:
        """Yield the dotted name of each module that is imported, also inside functions and type checks."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield "." * node.level + (node.module or "")
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def files() -> tuple[Path, ...]:
    """Return every file of the project, by its path from the root, without what can be made again."""
    return tuple(sorted(_walk(ROOT)))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in MADE or path.name.endswith(".egg-info") or path.is_symlink():
            continue
        if path.is_dir() and (not path.name.startswith(".") or path.name == ".ci"):
            yield from _walk(path)
        elif path.is_file() and path.name not in {".env", ".git"}:
            yield path.relative_to(ROOT)


@cache
def modules(*, tests: bool = False) -> tuple[Module, ...]:
    """Return the modules of the package, or those of the tests and the bench."""
    chosen = [path for path in files() if path.suffix == ".py" and (path.parts[0] in {"tests", "bench"}) is tests]
    texts = {path: (ROOT / path).read_text("utf-8") for path in chosen}
    return tuple(Module(path, text, ast.parse(text, str(path))) for path, text in texts.items())


@cache
def documents() -> tuple[tuple[Path, str], ...]:
    """Return the path and text of each Markdown file."""
    return tuple((path, (ROOT / path).read_text("utf-8")) for path in files() if path.suffix == ".md")


def pyproject() -> dict[str, Any]:
    """Return the project's own description of itself."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def requirements(*extras: str) -> list[Requirement]:
    """Return what is needed in production, or by the named extras beside it."""
    project = pyproject()["project"]
    beside = [each for extra in extras for each in project["optional-dependencies"][extra]]
    return [Requirement(each) for each in (beside if extras else project["dependencies"])]
