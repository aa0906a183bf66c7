"""A traced run with `feedback_keys` tells where users say what they think of it, and is never held up by that."""

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from langgraph_sdk import get_client

from threadline.api.app import create_app
from threadline.checkpoints.pool import Database
from threadline.runs.engine import open_engine
from threadline.runs.invocation import trace_id
from threadline.runs.model import Run
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import engine_settings, serve_app
from threadline.tests.runs.life_world import World, eventually, open_world
from threadline.tests.tracing.ingest import Ingest, serve_ingest
from threadline.tests.tracing.traced_world import QUESTION, load_traced_graphs, open_traced_world, settings

KEYS = ["thumbs", "stars", "thumbs"]


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with serve_ingest() as served:
        yield served


@pytest.fixture
async def world(database: Database, tmp_path: Path, ingest: Ingest) -> AsyncIterator[World]:
    async with open_traced_world(database, tmp_path, ingest) as opened:
        yield opened


async def ask(world: World, graph: str = "quick", **kwargs: Any) -> Run:
    """Let a run come to its end or its question."""
    wanted = {"feedback_keys": KEYS, "stream_mode": ["values", "updates"], **kwargs}
    run = await world.engine.queue.create(world.ask_for(graph, QUESTION, kwargs=wanted))
    await world.answer(run)
    return run


async def names(world: World, run: Run) -> list[str]:
    return [event.name for event in await world.events(run.thread_id)]


def addresses(ingest: Ingest) -> dict[str, str]:
    return {key: f"{ingest.url}/tokens/{key}" for key in ("thumbs", "stars")}


async def test_the_addresses_come_behind_what_the_graph_did_and_before_the_end(world: World, ingest: Ingest) -> None:
    run = await ask(world)
    assert (await names(world, run))[-3:] == [".node_finished", "feedback", ".run_ended"]
    (event,) = [event for event in await world.events(run.thread_id) if event.name == "feedback"]
    assert orjson.loads(event.data) == addresses(ingest)


async def test_they_are_asked_for_under_the_runs_trace_with_the_key(world: World, ingest: Ingest) -> None:
    run = await ask(world)
    ((headers, wishes),) = ingest.wishes
    assert headers["x-api-key"] == "lsv2_test"
    valid = {"days": 0, "hours": 3, "minutes": 0}
    assert wishes == [
        {"run_id": str(trace_id(run.run_id, 1)), "feedback_key": key, "expires_in": valid}
        for key in ("thumbs", "stars")
    ]


async def test_a_run_that_asks_a_question_has_them_too(world: World, ingest: Ingest) -> None:
    run = await ask(world, "planning")
    assert "feedback" in await names(world, run)


@pytest.mark.parametrize("kwargs", [{"feedback_keys": None}, {"feedback_keys": []}])
async def test_a_run_without_keys_asks_for_nothing(world: World, ingest: Ingest, kwargs: dict[str, Any]) -> None:
    run = await ask(world, **kwargs)
    assert "feedback" not in await names(world, run)
    assert ingest.wishes == []


async def test_a_run_that_is_not_in_the_sample_asks_for_nothing(
    database: Database, tmp_path: Path, ingest: Ingest
) -> None:
    async with open_traced_world(database, tmp_path, ingest, sampling_rate=0.0) as world:
        assert "feedback" not in await names(world, await ask(world))
    assert ingest.wishes == []


async def test_without_tracing_there_is_no_such_event(database: Database, tmp_path: Path, ingest: Ingest) -> None:
    async with open_world(database, load_traced_graphs(tmp_path)) as world:
        assert "feedback" not in await names(world, await ask(world))
    assert ingest.wishes == []


@pytest.mark.parametrize(
    ("desk", "reason"),
    [("broken", "answered 500"), ("confused", "no address for each key"), ("silent", "no answer 2 s after the run")],
)
async def test_a_run_for_which_they_cannot_be_had_ends_as_it_would_have(
    world: World, ingest: Ingest, caplog: pytest.LogCaptureFixture, desk: str, reason: str
) -> None:
    ingest.desk = desk
    with caplog.at_level(logging.WARNING, "threadline.tracing"):
        run = await ask(world)
    assert await world.status(run) == "success"
    assert "feedback" not in await names(world, run)
    (line,) = [record for record in caplog.records if record.getMessage() == "feedback.not_offered"]
    assert reason in line.__dict__["error"]
    assert line.__dict__["run_id"] == str(run.run_id)


async def test_a_run_that_is_cancelled_does_not_wait_for_them(world: World, ingest: Ingest) -> None:
    ingest.desk = "silent"
    wanted = {"feedback_keys": KEYS}
    request = world.ask_for("planning", {**QUESTION, "patience": "none"}, kwargs=wanted)
    run = await world.engine.queue.create(request)
    await world.answer(run)
    resumed = await world.engine.queue.create(
        world.ask_for("planning", thread_id=run.thread_id, kwargs={"command": {"resume": "yes"}, **wanted})
    )
    await world.reach(resumed, ".node_started", 2)
    await world.engine.threads.delete(run.thread_id)

    async def is_over() -> bool:
        return world.engine.worker.room == world.engine.worker.places

    await eventually(is_over)


async def test_the_official_client_gets_them_in_its_stream(dsn: str, tmp_path: Path, ingest: Ingest) -> None:
    registry = load_traced_graphs(tmp_path)
    question: dict[str, Any] = {**QUESTION}
    tracing: Any = {"tracing": settings(ingest.url), "trace_spool": tmp_path / "traces"}
    app = create_app(
        lambda: open_engine(Database(dsn, pool_size=8), registry, replace(engine_settings(), **tracing)), ApiSettings()
    )
    with serve_app(app) as served:
        async with get_client(url=served.url, api_key=None) as client:
            thread = await client.threads.create()
            stream = client.runs.stream(
                thread["thread_id"], "quick", input=question, stream_mode="updates", feedback_keys=["thumbs"]
            )
            parts = [(part.event, part.data) async for part in stream]
            assert parts[-1] == ("feedback", {"thumbs": f"{ingest.url}/tokens/thumbs"})
            (run,) = await client.runs.list(thread["thread_id"])
            later = client.runs.join_stream(thread["thread_id"], run["run_id"], last_event_id="-")
            assert [part.data async for part in later if part.event == "feedback"] == [parts[-1][1]]
            assert UUID(run["run_id"])
