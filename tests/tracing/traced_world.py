"""Owns an engine that traces into a stand-in, and the waiting for whole traces."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from threadline.checkpoints.pool import Database
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.settings import TracingSettings
from threadline.tests.runs.life_world import World, eventually, open_world
from threadline.tests.tracing.ingest import Ingest

GRAPHS = Path(__file__).with_name("traced_graphs.py")
NAMES = ("planning", "outer", "quick", "using", "telling", "strict", "broad")
QUESTION = {"messages": [{"role": "user", "content": "What is an oak?"}]}


def load_traced_graphs(folder: Path) -> Registry:
    """Return the registry of the graphs whose traces are looked at."""
    file = folder / "langgraph.json"
    file.write_text(json.dumps({"graphs": {name: f"{GRAPHS}:{name}" for name in NAMES}}))
    return Registry(load_configuration(file))


def settings(url: str, **changes: Any) -> TracingSettings:
    """Tracing into a stand-in, under a key that it does not look at."""
    given = {"enabled": True, "api_key": SecretStr("lsv2_test"), "endpoint": url, "project": "tests", **changes}
    return TracingSettings(**given)


@asynccontextmanager
async def open_traced_world(database: Database, folder: Path, ingest: Ingest, **changes: Any) -> AsyncIterator[World]:
    """An engine that traces into `ingest`; what that does not take is spooled in `folder`/traces."""
    registry = load_traced_graphs(folder)
    tracing = settings(ingest.url, **changes)
    async with open_world(database, registry, tracing=tracing, trace_spool=folder / "traces") as world:
        yield world


async def arrived(ingest: Ingest, *trace_ids: object) -> None:
    """Wait until these traces are there, to their ends."""

    async def check() -> bool:
        return all(ingest.is_whole(trace_id) for trace_id in trace_ids)

    await eventually(check)
