"""Owns the import of a graph's variable: what the module is called and which line a failed import blames.

What the variable holds, and what is done with it, is left to `registry`.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import threadline
from threadline.graphs.configuration import GraphSource, read_source
from threadline.graphs.errors import GraphImportError

PACKAGE_ROOT = Path(threadline.__path__[0]).resolve()


def put_on_path(folders: Sequence[Path]) -> None:
    """Make the folders' modules importable, before everything else.

    A project may have a `settings.py`, an `api` or a `graphs` like ours. So our own root leaves the path (our
    modules are imported as `threadline.*`, which does not need it); otherwise it would win over a project's
    folder without `__init__.py`, wherever it stands.
    """
    wanted = [str(folder) for folder in folders if folder != PACKAGE_ROOT]
    kept = [entry for entry in sys.path if entry not in wanted and Path(entry).resolve() != PACKAGE_ROOT]
    sys.path[:] = [*dict.fromkeys(wanted), *kept]
    importlib.invalidate_caches()


def load_variable(source: GraphSource, folder: Path) -> object:
    """Import what `source` names; `folder` is where langgraph.json lies.

    Raises GraphImportError with the file and line at fault, whatever the module raised, `SystemExit` included.
    """
    if source.file is not None:
        _check_file(source, source.file, folder)
    try:
        module = _import(source, folder)
    except (Exception, SystemExit) as error:
        file, line = _blame(error, source, folder)
        text = f"{type(error).__name__}: {_message(error)}"
        raise GraphImportError(source.graph_id, _shown(file, folder), line, text) from error
    if not hasattr(module, source.variable):
        raise _missing_variable(source, module, folder)
    value: object = getattr(module, source.variable)
    return value


def load_object(path: Path, key: str, location: str) -> object:
    """Import the object that the key of the langgraph.json at `path` names, as in `./auth.py:auth`.

    Raises ConfigurationError for what is no such name, and GraphImportError as `load_variable` does.
    """
    return load_variable(read_source(path, key, location), path.parent)


def module_name(file: Path, folder: Path) -> str:
    """The name a graph file is imported under.

    A file of our own package keeps its dotted name, since a second name would make a second copy. Any other
    file gets a flat name made from its place relative to `folder`: the same in every process and on every machine,
    because checkpoints refer to classes by their module's name.
    """
    own = _own_name(file)
    if own is not None:
        return own
    place = Path(os.path.relpath(file, folder)).as_posix()
    readable = re.sub(r"\W+", "_", place.removesuffix(".py")).strip("_")
    name = f"graph_{readable}_{_digest(place)}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ != str(file):
        return f"{name}_{_digest(file.as_posix())}"
    return name


def place_of(source: GraphSource, value: object, folder: Path) -> tuple[str, int | None]:
    """The file, as shown to people, and the line where a variable's value was defined, as far as it is known."""
    code = getattr(value, "__code__", None)
    if code is not None:
        return _shown(Path(code.co_filename), folder), code.co_firstlineno
    return _shown(source.file, folder), None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _own_name(file: Path) -> str | None:
    if not file.is_relative_to(PACKAGE_ROOT):
        return None
    parts = file.relative_to(PACKAGE_ROOT).with_suffix("").parts
    parents = [PACKAGE_ROOT.joinpath(*parts[:depth]) for depth in range(1, len(parts))]
    if not all((parent / "__init__.py").is_file() for parent in parents):
        return None
    return ".".join([threadline.__name__, *parts])


def _check_file(source: GraphSource, file: Path, folder: Path) -> None:
    if not file.is_file():
        raise GraphImportError(
            source.graph_id, _shown(file, folder), None, "the file does not exist; correct its path in langgraph.json"
        )
    if file.suffix != ".py":
        raise GraphImportError(
            source.graph_id, _shown(file, folder), None, f"only Python graphs run here, not {file.suffix or 'this'}"
        )


def _import(source: GraphSource, folder: Path) -> ModuleType:
    if source.file is None:
        return importlib.import_module(str(source.module))
    name = module_name(source.file, folder)
    if name.startswith(f"{threadline.__name__}."):
        return importlib.import_module(name)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, source.file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source.file} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _blame(error: BaseException, source: GraphSource, folder: Path) -> tuple[Path | None, int | None]:
    """The line of the project that failed: the innermost one in its files, else where the import began."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return Path(error.filename), error.lineno
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    ours = [frame for frame in frames if _is_project_file(Path(frame.filename), folder)]
    for frame in [*reversed(ours), *reversed(frames)]:
        if frame.filename != __file__:
            return Path(frame.filename), frame.lineno
    return source.file, None


def _is_project_file(file: Path, folder: Path) -> bool:
    installed = {"site-packages", "dist-packages"}.intersection(file.parts)
    return file.is_relative_to(folder) and not installed and file != Path(__file__)


def _message(error: BaseException) -> str:
    if isinstance(error, ImportError) and "relative import" in str(error):
        return (
            f"{error}; a graph named by its file has no package: import absolutely from the project's folder, or "
            'name the graph by its module, as in "package.module:graph"'
        )
    return str(error) or "no message"


def _missing_variable(source: GraphSource, module: ModuleType, folder: Path) -> GraphImportError:
    names = [name for name in vars(module) if not name.startswith("_")]
    text = f"it has no variable {source.variable!r}; it has: {', '.join(names) or 'none'}"
    file = Path(module.__file__) if module.__file__ else None
    return GraphImportError(source.graph_id, _shown(file or source.file, folder), None, text)


def _shown(file: Path | None, folder: Path) -> str:
    if file is None:
        return "langgraph.json"
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
