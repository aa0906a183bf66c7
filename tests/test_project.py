"""The rules of the source that no linter knows, each with what to do instead."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from threadline.tests.source import ROOT, Module, files, modules, pyproject, requirements

# A folder may import itself and these; of the settings, the type of a section that it is handed.
# `cli` and the commands put the parts together.
MAY_IMPORT = {
    "graphs": set(),
    "effects": set(),
    "checkpoints": {"effects"},
    "environment": set(),
    "keeping": {"environment"},
    "settings": {"environment", "keeping"},
    "runs": {"graphs", "checkpoints", "effects", "settings", "keeping"},
    "replay": {"runs", "graphs", "checkpoints"},
    "api": {
        *("runs", "replay", "checkpoints.pool", "settings"),
        *("graphs.registry", "graphs.auth", "graphs.door", "graphs.users"),
    },
    "commands": {"api", "runs", "replay", "graphs", "checkpoints", "settings"},
}
LONGEST_MODULE = 300
LONGEST_FUNCTION = 60
EMPTY_WORDS = {"utils", "util", "core", "services", "service", "common", "helpers", "helper", "misc"}
EMPTY_SUFFIXES = ("Manager", "Handler", "Helper", "Service", "Util", "Utils")
# uvicorn finds two of them by itself; of the third only files are used.
LOADED_BY_NAME = {"httptools", "websockets", "fastapi-offline"}


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_within(name: str, parts: set[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_in_one_direction(folder: str) -> None:
    allowed = MAY_IMPORT[folder] | {folder}
    for module in modules():
        if module.name.split(".")[0] != folder:
            continue
        for name in module.imports():
            ours = name.removeprefix("threadline.")
            allows = not name.startswith("threadline.") or is_within(ours, allowed)
            assert allows, f"{module.path} imports {name}; {folder} may import {sorted(allowed)} only"


def test_every_folder_says_whom_it_may_import() -> None:
    folders = {module.path.parts[0] for module in modules() if len(module.path.parts) > 1}
    assert folders <= set(MAY_IMPORT), "name the new folder in MAY_IMPORT"


def test_imports_of_our_own_begin_with_threadline() -> None:
    bare = {module.name.split(".")[0] for module in modules()} - {"__init__"}
    for module in modules():
        for name in module.imports():
            assert not name.startswith("."), f"{module.path}: write {name} as threadline..."
            assert name.split(".")[0] not in bare, f"{module.path}: {name} would take a user's own folder"


def test_only_entry_points_load_the_settings() -> None:
    for module in modules():
        if "load_settings" in module.text and module.name != "settings":
            assert len(module.path.parts) == 1, f"{module.path} takes values, or a section"


def test_only_the_environment_module_reads_the_environment() -> None:
    for module in modules():
        reads = re.search(r"\bos\.(environ|getenv)\b|from os import .*\b(environ|getenv)\b", module.text)
        assert reads is None or module.name == "settings", f"{module.path} takes a value instead of {reads}"


def test_every_module_says_what_it_owns() -> None:
    for module in (*modules(), *modules(tests=True)):
        assert ast.get_docstring(module.tree), f"{module.path} begins with a sentence on what it owns"


def test_no_module_grows_beyond_three_hundred_lines() -> None:
    long = {str(module.path): lines for module in modules() if (lines := module.text.count("\n")) > LONGEST_MODULE}
    assert not long, "one noun, one job: split it along its nouns"


def test_no_function_grows_beyond_sixty_lines() -> None:
    for module in modules():
        for function in functions(module):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{module.path}: {function.name} has {lines} lines: name its steps"


def test_names_of_modules_and_classes_say_something() -> None:
    for module in modules():
        empty = EMPTY_WORDS & set(re.split(r"[._]", module.name))
        assert not empty, f"{module.path}: name it after what it owns"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                assert not node.name.endswith(EMPTY_SUFFIXES), f"{module.path}: {node.name} says nothing of its job"


def test_names_of_tests_are_sentences() -> None:
    for module in modules(tests=True):
        for function in functions(module):
            if function.name.startswith("test_"):
                words = function.name.removeprefix("test_").split("_")
                assert len(words) >= 4, f"{module.path}: {function.name} does not say what holds"


def test_no_two_tests_of_a_file_share_a_name() -> None:
    for module in modules(tests=True):
        names = Counter(
            each.name for each in module.tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        assert not [name for name, times in names.items() if times > 1], f"{module.path}: the last one hides the others"


def test_every_suppression_carries_its_reason() -> None:
    suppression = re.compile(r"#\s*(type: ignore|noqa|mypy:|pragma:|fmt: (off|skip))")
    explained = re.compile(r"#\s*(type: ignore\[[\w, -]+\]|noqa: [A-Z0-9, ]+|pragma: no cover)\W+\w+\W+\w+\W+\w+")
    for module in (*modules(), *modules(tests=True)):
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
            if token.type == tokenize.COMMENT and suppression.search(token.string):
                where = f"{module.path}:{token.start[0]}"
                assert explained.search(token.string), f"{where}: name the code, and after it the reason"


def test_nothing_is_left_to_do_later() -> None:
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
    for path in files():
        if path.suffix in {".py", ".sql", ".md", ".toml", ".yml"}:
            assert not marks.search((ROOT / path).read_text("utf-8")), f"{path}: do it, or drop it"


def test_every_named_statement_states_its_promise() -> None:
    for path in files():
        if path.suffix == ".sql" and "migrations" not in path.parts:
            parts = re.split(r"^-- name: (\w+)\s*$", (ROOT / path).read_text("utf-8"), flags=re.MULTILINE)
            for name, body in zip(parts[1::2], parts[2::2], strict=True):
                assert body.lstrip().startswith("-- "), f"{path}: {name} needs a comment with its promise"


def test_no_statement_is_written_in_python() -> None:
    statement = re.compile(
        r"\b(select|insert|update|delete|create|alter|drop)\b.*\b(from|into|set|table|index)\b", re.S
    )
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "execute" and node.args:
                first = node.args[0]
                where = f"{module.path}:{node.lineno}"
                assert not isinstance(first, ast.JoinedStr), f"{where}: SQL is never built from text"
                text = first.value if isinstance(first, ast.Constant) else ""
                assert not statement.search(str(text).lower()), f"{where}: name it in a .sql file"


def test_every_package_folder_is_shipped() -> None:
    folders = {".".join(("threadline", *path.parent.parts)) for path in files() if path.name == "__init__.py"}
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == folders


def test_every_file_beside_the_code_is_shipped() -> None:
    setuptools = pyproject()["tool"]["setuptools"]
    shipped = setuptools["package-data"]["*"]
    for package in set(setuptools["packages"]) - {"threadline"}:
        folder = ROOT.joinpath(*package.split(".")[1:])
        beside = [each for each in folder.iterdir() if each.is_file() and each.suffix != ".py"]
        left_out = [each.name for each in beside if not any(each.match(pattern) for pattern in shipped)]
        assert not left_out, f"name them under package-data in pyproject.toml, or an installed {package} misses them"


def test_every_direct_dependency_is_imported() -> None:
    packages = packages_distributions()
    imported = {name.split(".")[0] for module in modules() for name in module.imports()}
    used = {canonicalize_name(each) for name in imported for each in packages.get(name, ())}
    # Namespaces such as `langgraph.checkpoint.postgres` belong to several distributions.
    unused = {canonicalize_name(each.name) for each in requirements()} - used - LOADED_BY_NAME
    assert not unused, "drop it from pyproject.toml, or name in LOADED_BY_NAME who loads it"


@pytest.mark.parametrize(("file", "extras"), [("runtime", ()), ("dev", ("embedded", "dev"))])
def test_requirements_are_locked_as_pyproject_asks(file: str, extras: tuple[str, ...]) -> None:
    text = (ROOT / "requirements" / f"{file}.txt").read_text("utf-8")
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, flags=re.MULTILINE))
    for requirement in requirements(*extras):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is not in requirements/{file}.txt: make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is not {version}: make lock"


def test_every_pinned_package_carries_hashes() -> None:
    for path in files():
        if path.parts[0] == "requirements" and path.suffix == ".txt":
            text = (ROOT / path).read_text("utf-8")
            pins = re.findall(r"^[a-z0-9.-]+==.*\\$", text, flags=re.MULTILINE)
            assert pins
            assert len(pins) == len(re.findall(r"^[a-z]", text, flags=re.MULTILINE)), f"{path}: make lock"


def test_the_tree_names_no_package_registry() -> None:
    hosts = [
        ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))
    ]
    for path in files():
        assert path.name != "uv.lock", "requirements/ is the lock, and names no registry"
        text = (ROOT / path).read_text("utf-8", errors="ignore")
        assert not [host for host in hosts if host in text], f"{path}: a registry is the machine's own choice"
        assert not re.search(r"^--(extra-)?index-url|^--find-links", text, flags=re.MULTILINE), f"{path}: same"
