"""Owns a project whose store finds items by meaning, and its server: the meanings are made by a function of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI

from threadline.api.app import create_app
from threadline.commands.storage import read_all
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.engine import open_engine
from threadline.settings import ApiSettings, ModelSettings
from threadline.tests.api.conftest import HEARTBEAT, MAX_BODY, engine_settings, serve_app
from threadline.tests.laboratory.places import reach

GRAPHS = """
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime


class State(TypedDict, total=False):
    found: list[str]
    note: str


async def remember(state: State, runtime: Runtime) -> State:
    await runtime.store.aput(("shared",), "by the graph", {"text": state["note"]})
    found = await runtime.store.asearch(("shared",), query="sea")
    return {"found": [item.key for item in found]}


def remember_blocking(state: State, runtime: Runtime) -> State:
    runtime.store.put(("blocking",), "by the graph", {"text": state["note"]})
    return {"found": [item.key for item in runtime.store.search(("blocking",), query="sea")]}


remembering = StateGraph(State).add_node("go", remember).add_edge(START, "go").add_edge("go", END).compile()
blocking = StateGraph(State).add_node("go", remember_blocking).add_edge(START, "go").add_edge("go", END).compile()
"""

EMBED = """
WORDS = ("sea", "mountain", "city", "wood")


def embed(texts):
    if any("poison" in text for text in texts):
        raise RuntimeError("no such word")
    return [[1.0 + 9.0 * text.lower().count(word) for word in WORDS] for text in texts]


async def embed_later(texts):
    return embed(texts)


def embed_wrongly(texts):
    return [[1.0] for _ in texts]


not_a_function = 7
"""


def skip_without_pgvector(dsn: str) -> None:
    """Leave the test to those whose PostgreSQL has the extension; the embedded one does."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select from pg_available_extensions where name = 'vector'").fetchone()
    if found is None:
        pytest.skip("this PostgreSQL has no pgvector")


def write_store_project(folder: Path, **keys: Any) -> Path:
    """Write a project whose langgraph.json has these keys, too."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "store_graphs.py").write_text(GRAPHS)
    (folder / "store_embed.py").write_text(EMBED)
    graphs = {name: f"./store_graphs.py:{name}" for name in ("remembering", "blocking")}
    path = folder / "langgraph.json"
    path.write_text(json.dumps({"graphs": graphs, **keys}))
    return path


def make_store_app(dsn: str, config: Path, model: ModelSettings | None = None) -> FastAPI:
    """Make the whole application as langgraph.json says. Raises ConfigurationError."""
    configuration = load_configuration(config)
    registry = Registry(configuration)
    lifetimes, items = read_all(configuration, model or ModelSettings())
    settings = replace(engine_settings(), lifetimes=lifetimes, items=items)
    return create_app(
        lambda: open_engine(reach(dsn), registry, settings),
        ApiSettings(heartbeat=HEARTBEAT, max_body_bytes=MAX_BODY),
    )


@contextmanager
def serve_store(dsn: str, config: Path, model: ModelSettings | None = None) -> Iterator[str]:
    """Serve it on this database, and yield its address."""
    with serve_app(make_store_app(dsn, config, model)) as served:
        yield served.url
