"""The fingerprint of a graph's code follows its imports through the project, and nothing else."""

from pathlib import Path

import pytest

from threadline.graphs.code import code_hash
from threadline.graphs.versions import LENGTH

FILES = {
    "agent.py": "from nodes import (\n    plan,\n)\nimport tools.search as search\nfrom tools import texts\n",
    "nodes.py": "from tools.models import Model\nimport json\n",
    "tools/__init__.py": "",
    "tools/search.py": "def find():\n    from .lazy import late\n    return late\n",
    "tools/lazy.py": "late = 1\n",
    "tools/texts.py": "from . import \\\n    more\n",
    "tools/more.py": "",
    "tools/models.py": "class Model: ...\n",
    "unrelated.py": "",
    "prompt.txt": "Be brief.",
}
USED = [name for name in FILES if name not in ("unrelated.py", "prompt.txt")]


def write(folder: Path, **changes: str) -> Path:
    for name, text in {**FILES, **changes}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def fingerprint(folder: Path) -> str:
    return code_hash(folder / "agent.py", [folder])


def test_it_does_not_matter_where_the_project_lies(tmp_path: Path) -> None:
    one, other = fingerprint(write(tmp_path / "one")), fingerprint(write(tmp_path / "deep" / "other"))
    assert one == other
    assert len(one) == LENGTH


@pytest.mark.parametrize("name", USED)
def test_a_change_of_any_file_that_is_imported_is_another_code(tmp_path: Path, name: str) -> None:
    before = fingerprint(write(tmp_path))
    assert fingerprint(write(tmp_path, **{name: FILES[name] + "\n# changed\n"})) != before


@pytest.mark.parametrize("name", ["unrelated.py", "prompt.txt"])
def test_a_change_of_another_file_is_not(tmp_path: Path, name: str) -> None:
    before = fingerprint(write(tmp_path))
    assert fingerprint(write(tmp_path, **{name: "changed = 1\n"})) == before


def test_a_file_that_cannot_be_read_as_python_counts_as_it_stands(tmp_path: Path) -> None:
    before = fingerprint(write(tmp_path, **{"nodes.py": "def broken(:\n"}))
    assert fingerprint(write(tmp_path, **{"nodes.py": "def broken(;\n"})) != before
    (tmp_path / "nodes.py").write_bytes(b"\xff\xfe\x00")
    assert len(fingerprint(tmp_path)) == LENGTH


def test_files_that_import_each_other_are_read_once(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"nodes.py": "import agent\nimport nodes\n"})
    assert len(fingerprint(folder)) == LENGTH
