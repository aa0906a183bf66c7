"""Owns a served application whose runs are looked back at, on a database of the test's own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from threadline.api.app import create_app
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.engine import open_engine
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import engine_settings, serve_app
from threadline.tests.laboratory.places import reach

GRAPHS = Path(__file__).with_name("replay_graphs.py")
NAMES = ("steps", "asking", "failing", "waiting", "talking", "reporting", "delta", "nested", "parallel")

# Everything that belongs to a thread, with what PostgreSQL changes when a row is as much as written again.
TABLES = {
    "threads": "thread_id",
    "thread_heads": "thread_id",
    "runs": "thread_id",
    "run_events": "thread_id",
    "checkpoints": "thread_id",
    "checkpoint_blobs": "thread_id",
    "checkpoint_writes": "thread_id",
}


@dataclass
class Past:
    """A server, its database, and what tests do with them."""

    http: httpx.Client
    dsn: str

    def thread(self) -> str:
        made: str = self.http.post("/threads", json={}).raise_for_status().json()["thread_id"]
        return made

    def run(self, graph: str, thread_id: str | None = None, **body: Any) -> tuple[str, str, Any]:
        """Run to the end; returns thread, run and values."""
        thread_id = thread_id or self.thread()
        asked = {"assistant_id": graph, "input": {"log": ["in"]}, **body}
        answer = self.http.post(f"/threads/{thread_id}/runs/wait", json=asked).raise_for_status()
        return thread_id, answer.headers["content-location"].rpartition("/")[2], answer.json()

    def answer(self, thread_id: str, graph: str, text: str = "yes") -> tuple[str, str, Any]:
        return self.run(graph, thread_id, input=None, command={"resume": text})

    def history(self, thread_id: str) -> list[Any]:
        """The states by the ordinary route, oldest first."""
        found: list[Any] = self.http.get(f"/threads/{thread_id}/history?limit=1000").raise_for_status().json()
        return found[::-1]

    def state(self, thread_id: str) -> Any:
        return self.http.get(f"/threads/{thread_id}/state").raise_for_status().json()

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def bytes_of(self, *thread_ids: str | UUID) -> dict[str, list[Any]]:
        """Every row of the threads, in every table, as it lies there."""
        ids = [str(each) for each in thread_ids]
        return {
            table: self.rows(
                f"select xmin::text, ctid::text, t::text from {table} t where {column}::text = any(%s) order by ctid",
                ids,
            )
            for table, column in TABLES.items()
        }


def make_registry(folder: Path, names: tuple[str, ...] = NAMES) -> Registry:
    """The graphs of `replay_graphs`, or some of them."""
    file = folder / "langgraph.json"
    file.write_text(json.dumps({"graphs": {name: f"{GRAPHS}:{name}" for name in names}}))
    return Registry(load_configuration(file))


@contextmanager
def serve_past(dsn: str, registry: Registry, **changes: Any) -> Iterator[Past]:
    """Serve the graphs of a registry for the length of the block."""
    from dataclasses import replace

    settings = replace(engine_settings(), **changes)
    app = create_app(lambda: open_engine(reach(dsn, pool_size=16), registry, settings), ApiSettings())
    with serve_app(app) as served, httpx.Client(base_url=served.url, timeout=60) as http:
        yield Past(http, dsn)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return make_registry(tmp_path_factory.mktemp("past"))


@pytest.fixture
def past(dsn: str, registry: Registry) -> Iterator[Past]:
    with serve_past(dsn, registry) as opened:
        yield opened
