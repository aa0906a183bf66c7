"""Owns the proof that root and ordinary users both get a server, and that nobody's permissions are widened for it."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from threadline.checkpoints.embedded import EmbeddedServerError, attach
from threadline.checkpoints.embedded.account import find_account, run_program
from threadline.tests.checkpoints.embedded.owners import (
    Start,
    StartOwner,
    assert_remembered,
    find_cluster,
    find_postmaster,
    remember,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what only root can do")


def find_python(uid: int) -> str | None:
    """Return an interpreter of our version that an ordinary account can run."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            subprocess.run([python, "-c", ""], user=uid, group=uid, extra_groups=[], check=True, cwd="/")
        except OSError:
            continue
        return python
    return None


def owner_of(pid: int) -> int:
    ps = subprocess.run(["ps", "-o", "uid=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(ps.stdout)


@pytest.fixture
def closed_folder(data_dir: Path) -> Iterator[Path]:
    """A folder that only we can enter, as /root is."""
    folder = data_dir.parent / "home"
    folder.mkdir(mode=0o700)
    yield folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_uid == os.geteuid()


@needs_root
def test_root_runs_the_server_as_an_account_of_the_system(start: Start, used_dir: Path) -> None:
    start(used_dir)
    account = pwd.getpwuid(owner_of(find_postmaster(used_dir)))
    assert account.pw_name in {"postgres", "nobody"}
    assert find_cluster(used_dir).stat().st_uid == account.pw_uid
    assert used_dir.stat().st_uid == find_cluster(used_dir).parent.stat().st_uid == 0


@needs_root
def test_the_server_keeps_no_group_of_root(start: Start, used_dir: Path) -> None:
    start(used_dir)
    account = find_account()
    assert account
    ps = ["ps", "-o", "gid=,supgid=", "-p", str(find_postmaster(used_dir))]
    shown = subprocess.run(ps, capture_output=True, text=True, check=True).stdout.split()
    assert set(shown) <= {str(account.gid), "-"}
    assert run_program(["/usr/bin/id", "-G"], account).stdout.split() == [str(account.gid)]


@pytest.mark.parametrize("bindir", [None, Path("/usr/lib/postgresql/15/bin")], ids=["best found", "PostgreSQL 15"])
def test_a_project_in_a_closed_home_keeps_its_data_there(
    start: Start, closed_folder: Path, bindir: Path | None
) -> None:
    if bindir and not bindir.exists():
        pytest.skip(f"{bindir} is not on this machine")
    data_dir = closed_folder / "project" / ".threadline"
    server = start(data_dir, bindir=bindir)
    remember(server.dsn)
    server.restart()
    assert_remembered(server.dsn)
    assert (find_cluster(data_dir) / "PG_VERSION").exists()
    assert attach(data_dir) == server.dsn


@needs_root
def test_the_data_of_another_account_is_left_to_it(start: Start, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "pg.lock").symlink_to("/etc/hostname")
    with pytest.raises(EmbeddedServerError, match=r"pg\.lock"):
        start(data_dir)


@needs_root
def test_an_ordinary_user_has_a_server_under_their_own_account(start_owner: StartOwner, data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    python = find_python(nobody)
    if python is None:
        pytest.skip("no interpreter of this version is open to an ordinary user")
    data_dir.mkdir()
    os.chown(data_dir, nobody, -1)
    owner = start_owner(data_dir, python=python, uid=nobody)
    dsn = owner.read_dsn()
    assert owner_of(find_postmaster(data_dir)) == nobody
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert owner.end() == ""
