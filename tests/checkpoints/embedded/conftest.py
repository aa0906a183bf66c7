"""Owns the folders, servers and owners that the tests of the embedded server start, and ends them."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import threadline
from threadline.checkpoints.embedded import EmbeddedServer, start_server
from threadline.tests.checkpoints.embedded.owners import FAST, Owner, Start, StartOwner, launch_owner


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that does not exist yet, in a folder that every account may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    folder.chmod(0o711)
    yield folder / "state"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def used_dir() -> Iterator[Path]:
    """A data directory for tests that need no first start: that is what takes the time. Its server is down between."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    folder.chmod(0o711)
    start_server(folder / "state", options=FAST).stop()
    yield folder / "state"
    shutil.rmtree(folder)


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    """Start servers of this process, which are stopped after the test: before `data_dir` goes, so it comes first."""
    servers: list[EmbeddedServer] = []

    def _start(data_dir: Path, *, bindir: Path | None = None, **options: str) -> EmbeddedServer:
        server = start_server(data_dir, bindir=bindir, options=FAST | options)
        servers.append(server)
        return server

    yield _start
    for server in servers:
        server.stop()


@pytest.fixture
def import_path() -> Iterator[Path]:
    """A folder from which any interpreter can import `threadline`, whatever the clone is called."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    folder.chmod(0o711)
    (folder / "threadline").symlink_to(Path(threadline.__file__).parent)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start_owner(import_path: Path, data_dir: Path) -> Iterator[StartOwner]:
    """Start owners in processes of their own, which are killed after the test: before `data_dir` goes, as above."""
    owners: list[Owner] = []

    def _start(data_dir: Path, *, python: str = sys.executable, uid: int | None = None, fork: bool = False) -> Owner:
        owner = launch_owner(import_path, data_dir, python=python, uid=uid, fork=fork)
        owners.append(owner)
        return owner

    yield _start
    for owner in owners:
        owner.kill()
