"""Owns one server, over a real socket and a database of its own, that all official clients here talk to.

The client under test is each test file's own: they are written to be read as examples.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from fastapi import FastAPI
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.api.app import create_app
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.engine import open_engine
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import Serve, engine_settings, serve_app
from threadline.tests.laboratory.places import plain, reach

GRAPHS = Path(__file__).with_name("served_graphs.py")
DESCRIPTIONS = {
    "chatting": "Repeats what it is told",
    "approving": "Asks before it sends",
    "failing": "Fails",
    "sleeping": "Thinks for a long time",
    "counting": "Counts",
    "adding": "Adds two numbers",
    "lying": "Adds two numbers, and says so in words",
    "delegating": "Lets another graph answer",
}


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The graphs of `served_graphs`."""
    file = tmp_path_factory.mktemp("clients") / "langgraph.json"
    graphs = {name: {"path": f"{GRAPHS}:{name}", "description": text} for name, text in DESCRIPTIONS.items()}
    file.write_text(json.dumps({"graphs": graphs}))
    return Registry(load_configuration(file))


@pytest.fixture(scope="session")
def own_dsn(server_dsn: str, template_database: str) -> Iterator[str]:
    """The database of the shared server."""
    name = f"threadline_clients_{uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template_database))
        )
    yield plain(make_conninfo(server_dsn, dbname=name))
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def make_app(registry: Registry) -> Callable[[str], FastAPI]:
    """Make the whole application over a database."""
    return lambda dsn: create_app(lambda: open_engine(reach(dsn), registry, engine_settings()), ApiSettings())


@pytest.fixture(scope="session")
def url(own_dsn: str, make_app: Callable[[str], FastAPI]) -> Iterator[str]:
    """The address of the shared server."""
    with serve_app(make_app(own_dsn)) as served:
        yield served.url


@pytest.fixture
def serve() -> Serve:
    """Serve an application for the length of a `with` block."""
    return serve_app
