"""Owns a project with users of its own: graphs, handlers that know Alice and Bob, and the server that serves it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from fastapi import FastAPI
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.api.app import create_app
from threadline.graphs.configuration import load_configuration
from threadline.graphs.door import open_door
from threadline.graphs.registry import Registry
from threadline.runs.engine import open_engine
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import HEARTBEAT, MAX_BODY, engine_settings, serve_app
from threadline.tests.laboratory.places import plain, reach

GRAPHS = """
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    told: Any


def tell(state: State, config: RunnableConfig) -> State:
    configurable = config["configurable"]
    user = configurable.get("langgraph_auth_user")
    return {"told": {
        "identity": user.identity if user else None,
        "team": user["team"] if user else None,
        "id": configurable.get("langgraph_auth_user_id"),
        "permissions": configurable.get("langgraph_auth_permissions"),
        "keys": sorted(key for key in configurable if not key.startswith("__")),
        "headers": {key: value for key, value in configurable.items() if key.startswith(("x-", "my-"))},
    }}


builder = StateGraph(State).add_node("tell", tell).add_edge(START, "tell").add_edge("tell", END)
telling = builder.compile()


def made_for(config: RunnableConfig, runtime: Any) -> Any:
    name = runtime.user.identity if runtime.user else "nobody"
    return StateGraph(State).add_node(f"for_{name}", tell).add_edge(START, f"for_{name}").compile()
"""

AUTH = """
from langgraph_sdk import Auth

auth = Auth()
USERS = {
    "Bearer alice": {"identity": "alice", "permissions": ["write"], "team": "red", "groups": ["red", "all"]},
    "Bearer bob": {"identity": "bob", "permissions": [], "team": "blue", "groups": ["blue", "all"]},
}


@auth.authenticate
async def authenticate(authorization: str | None) -> Auth.types.MinimalUserDict:
    if authorization not in USERS:
        raise Auth.exceptions.HTTPException(status_code=401, detail="no such token", headers={"x-why": "token"})
    return USERS[authorization]


@auth.on
async def own(ctx: Auth.types.AuthContext, value: dict) -> dict:
    owner = {"owner": ctx.user.identity}
    if ctx.resource != "store" and ctx.action in ("create", "create_run", "update"):
        value.setdefault("metadata", {}).update(owner)
    return owner


@auth.on.store
async def scope(ctx: Auth.types.AuthContext, value: dict) -> None:
    value["namespace"] = (ctx.user.identity, *(value.get("namespace") or ()))
"""


def write_project(folder: Path, *, rules: str | None = AUTH, graphs: str = GRAPHS, **keys: Any) -> Path:
    """Write a project and return the path of its langgraph.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "guarded_graphs.py").write_text(graphs)
    content: dict[str, Any] = {
        "graphs": {"telling": "./guarded_graphs.py:telling", "made": "./guarded_graphs.py:made_for"}
    }
    if rules is not None:
        (folder / "rules_of_access.py").write_text(rules)
        content["auth"] = {"path": "./rules_of_access.py:auth"}
    for name, value in keys.items():
        content[name] = {**content.get(name, {}), **value} if isinstance(value, dict) else value
    path = folder / "langgraph.json"
    path.write_text(json.dumps(content))
    return path


def make_guarded_app(dsn: str, config: Path) -> FastAPI:
    """Make the whole application as langgraph.json says."""
    configuration = load_configuration(config)
    registry = Registry(configuration)
    return create_app(
        lambda: open_engine(reach(dsn), registry, engine_settings()),
        ApiSettings(heartbeat=HEARTBEAT, max_body_bytes=MAX_BODY),
        open_door(configuration),
    )


@contextmanager
def new_database(server_dsn: str, template: str) -> Iterator[str]:
    """A database for the length of the block."""
    name = f"threadline_guarded_{uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    try:
        yield plain(make_conninfo(server_dsn, dbname=name))
    finally:
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextmanager
def serve_project(server_dsn: str, template: str, config: Path) -> Iterator[str]:
    """Serve the project on a database of its own, and yield its address."""
    with new_database(server_dsn, template) as dsn, serve_app(make_guarded_app(dsn, config)) as served:
        yield served.url


def client_of(url: str, user: str | None = None, **headers: str) -> httpx.Client:
    """Return a plain client of this user, of a stranger without one."""
    named = {"authorization": f"Bearer {user}"} if user else {}
    return httpx.Client(base_url=url, timeout=20, headers={**named, **headers})
