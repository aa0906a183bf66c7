"""Owns the layout of a data directory and how the server gets into it; what its files mean is left to their writers."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from threadline.checkpoints.embedded.account import Account, can_enter
from threadline.checkpoints.embedded.errors import EmbeddedServerError

logger = logging.getLogger("threadline.embedded")

_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True)
class Layout:
    """Where the files of one major version lie: a cluster of one cannot be opened by another."""

    data_dir: Path
    major: int

    @property
    def folder(self) -> Path:
        return self.data_dir / f"pg{self.major}"

    @property
    def cluster(self) -> Path:
        return self.folder / "data"

    @property
    def unfinished_cluster(self) -> Path:
        return self.folder / "data.new"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


@dataclass(frozen=True)
class Passage:
    """A path by which the server reaches a folder, and the descriptors that it must inherit for that."""

    path: Path
    descriptors: tuple[int, ...] = ()


def prepare_data_dir(data_dir: Path, account: Account | None) -> None:
    """Create `data_dir` if need be; folders that were there before stay as they are.

    Raises EmbeddedServerError when `account` has no way into it, and OSError when it cannot be created.
    """
    for folder in reversed((data_dir, *data_dir.parents)):
        _make_folder(folder, account)
    if account is not None and not can_enter(data_dir, account) and not _DESCRIPTORS.is_dir():
        closed = next(f for f in reversed((data_dir, *data_dir.parents)) if not can_enter(f, account))
        raise EmbeddedServerError(
            f"The data directory {data_dir} cannot be used as root: PostgreSQL runs as {account.name} then, "
            f"and {closed} is closed to it. Choose another data directory, or start Threadline as an ordinary user."
        )


def make_layout(data_dir: Path, major: int, account: Account | None) -> Layout:
    """Return the layout for `major`, its folder made; says so in the log if only other majors have data."""
    layout = Layout(data_dir, major)
    others = sorted(cluster.parent.name for cluster in data_dir.glob("pg*/data"))
    if others and not layout.cluster.exists():
        logger.warning(
            "embedded.other_major_has_data",
            extra={"data_dir": str(data_dir), "major": major, "found": ", ".join(others)},
        )
    _make_folder(layout.folder, account)
    return layout


@contextmanager
def open_passage(folder: Path, account: Account | None) -> Iterator[Passage]:
    """Let a program that runs as `account` into its own `folder`, even below a folder that is closed to it.

    A project of root often lies below /root. The folder is opened by us then and handed down as a descriptor,
    so that nobody's permissions are widened and the files stay where the user wants them.
    """
    if can_enter(folder, account):
        yield Passage(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Passage(_DESCRIPTORS / str(descriptor), (descriptor,))
    finally:
        os.close(descriptor)


def _make_folder(folder: Path, account: Account | None) -> None:
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700)
    if account is not None:
        # The server's account may pass through, but not see what else is in there.
        folder.chmod(0o711)
