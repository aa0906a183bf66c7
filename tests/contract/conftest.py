"""Owns our server and the reference for the tests that compare them."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.tests.contract.catalogue import Played, by_project, load_catalogue, play_all
from threadline.tests.contract.servers import Served, serve_ours
from threadline.tests.laboratory.places import plain


@pytest.fixture(scope="session")
def ours(server_dsn: str, template_database: str) -> Played:
    """The whole catalogue, played against our server, once with each project."""
    played: Played = {}
    for project, scenarios in by_project(load_catalogue()).items():
        with _serve(server_dsn, template_database, project) as served:
            played |= asyncio.run(play_all(scenarios, served.url, served.gates))
    return played


@contextmanager
def _serve(server_dsn: str, template_database: str, project: str) -> Iterator[Served]:
    """Serve a project on a database of its own."""
    name = f"threadline_contract_{uuid4().hex[:12]}"
    folder = Path(mkdtemp(prefix="tl-contract-"))
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template_database))
        )
        with serve_ours(folder, plain(make_conninfo(server_dsn, dbname=name)), project) as served:
            yield served
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    shutil.rmtree(folder)
