"""Owns the assistant of the tests: bound to memory, offline, with a document index where a test asks for one."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from threadline.checkpoints.pool import Pool
from threadline.graphs.assistant import documents, model
from threadline.graphs.assistant.graph import graph as shipped
from threadline.graphs.assistant.ingestion import ingest_path
from threadline.graphs.factories import Graph

HANDBOOK = """# Handbook

What the team agreed on.

## Deploying

We deploy every Friday at noon. A deploy takes about ten minutes, and the old release keeps running meanwhile.

## Rolling back

Run `make rollback` to return to the previous release. Ask the person on call first.
"""
SNACKS = "The kitchen has apples and walnuts.\n\nCoffee beans are ordered on Mondays by the office team.\n"


@pytest.fixture(autouse=True)
def _offline() -> Iterator[None]:
    yield
    model.configure(None)
    documents.disconnect()


@pytest.fixture
def assistant() -> Graph:
    """The shipped workflow, remembering in memory."""
    graph = copy.copy(shipped)
    graph.checkpointer, graph.store = InMemorySaver(), InMemoryStore()
    return graph


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    """A folder with two small documents."""
    folder = tmp_path / "team"
    folder.mkdir()
    (folder / "handbook.md").write_text(HANDBOOK)
    (folder / "snacks.txt").write_text(SNACKS)
    return folder


@pytest.fixture
async def index(pool: Pool, handbook: Path) -> documents.DocumentIndex:
    """A connected index that holds the handbook."""
    await ingest_path(pool, handbook)
    return documents.connect(pool)
