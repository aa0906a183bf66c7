"""Owns the folders and the programs of these tests; each program is ended with its test."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.tests.commands.programs import Program, launch, run


class Launch(Protocol):
    def __call__(self, *arguments: str, cwd: Path | None = None, **variables: str) -> Program: ...


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the account PostgreSQL runs as may pass through."""
    made = Path(tempfile.mkdtemp(prefix="tl-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A migrated data directory that tests use one after the other: making one is what takes the time."""
    made = Path(tempfile.mkdtemp(prefix="tl-"))
    made.chmod(0o711)
    done = run("migrate", "--data-dir", str(made / "data"))
    assert done.returncode == 0, done.stderr
    yield made / "data"
    shutil.rmtree(made)


@pytest.fixture
def start(folder: Path) -> Iterator[Launch]:
    """Start commands."""
    programs: list[Program] = []
    numbers = count()

    def _start(*arguments: str, cwd: Path | None = None, **variables: str) -> Program:
        program = launch(folder / f"program-{next(numbers)}", *arguments, cwd=cwd, **variables)
        programs.append(program)
        return program

    yield _start
    for program in programs:
        program.end()


class Serve(Protocol):
    def __call__(self, config: Path, data_dir: Path, *flags: str, **variables: str) -> Program: ...


@pytest.fixture
def serve(start: Launch) -> Serve:
    """Start `threadline serve` on a free port."""

    def _serve(config: Path, data_dir: Path, *flags: str, **variables: str) -> Program:
        where = ("--port", "0", "--config", str(config), "--data-dir", str(data_dir))
        return start("serve", *where, *flags, cwd=None, **variables)

    return _serve


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    """The conninfo of a database without a schema."""
    name = f"threadline_empty_{uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    yield make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
