"""What LangSmith is sent of a run: one trace under the run's id, whole, with every span in its place."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from threadline.checkpoints.pool import Database
from threadline.graphs.registry import system_assistant_id
from threadline.runs.invocation import trace_id
from threadline.runs.model import Run
from threadline.runs.tracing import is_sampled
from threadline.tests.laboratory.places import plain_of
from threadline.tests.runs.life_world import World, eventually
from threadline.tests.tracing.ingest import Ingest, serve_ingest
from threadline.tests.tracing.traced_process import start_traced
from threadline.tests.tracing.traced_world import QUESTION, arrived, open_traced_world

# The two tools run side by side: which of them comes first is left open.
PLANNED = ["planning", "  planner", "    GenericFakeChatModel", "  tools", "    lookup", "    note"]
ANSWERED = ["planning", "  tools", "    lookup", "    note", "  responder", "    GenericFakeChatModel", "    polish"]


# The ways in which the service may take traces: the last is that of old ones.
WAYS = ({"zstd": True}, {"zstd": False}, {"multipart": False, "zstd": False})


@pytest.fixture
def ingest(request: pytest.FixtureRequest) -> Iterator[Ingest]:
    with serve_ingest(**getattr(request, "param", {})) as served:
        yield served


@pytest.fixture
async def world(database: Database, tmp_path: Path, ingest: Ingest) -> AsyncIterator[World]:
    async with open_traced_world(database, tmp_path, ingest) as opened:
        yield opened


async def ask(world: World, graph: str = "planning", **changes: Any) -> Run:
    """Let a run come to its end or its question."""
    run = await world.engine.queue.create(world.ask_for(graph, QUESTION, **changes))
    await world.answer(run)
    return run


async def resume(world: World, run: Run, graph: str = "planning") -> Run:
    """Answer the question that a run has asked, and let the thread come to its end."""
    request = world.ask_for(graph, thread_id=run.thread_id, kwargs={"command": {"resume": "yes"}})
    resumed = await world.engine.queue.create(request)
    await world.answer(resumed)
    return resumed


@pytest.mark.parametrize("ingest", WAYS, indirect=True, ids=["zstd", "multipart", "batch"])
async def test_a_planned_tool_using_interrupted_and_resumed_run_has_its_tree_of_spans(
    world: World, ingest: Ingest
) -> None:
    asked = await ask(world)
    answered = await resume(world, asked)
    await arrived(ingest, asked.run_id, answered.run_id)
    assert sorted(ingest.tree(asked.run_id)) == sorted(PLANNED)
    assert sorted(ingest.tree(answered.run_id)) == sorted(ANSWERED)
    kinds = {span["name"]: span["run_type"] for span in ingest.trace(asked.run_id)}
    assert kinds == {"planning": "chain", "planner": "chain", "tools": "chain", "lookup": "tool", "note": "tool"} | {
        "GenericFakeChatModel": "llm"
    }


async def test_the_root_of_a_trace_is_the_run(world: World, ingest: Ingest) -> None:
    run = await ask(world, "quick")
    await arrived(ingest, run.run_id)
    root = ingest.spans[str(run.run_id)]
    assert (root["trace_id"], root.get("parent_run_id"), root["name"]) == (str(run.run_id), None, "quick")
    assert root["session_name"] == "tests"


async def test_every_span_names_thread_run_assistant_graph_version_and_attempt(world: World, ingest: Ingest) -> None:
    run = await ask(world)
    await arrived(ingest, run.run_id)
    expected = {
        "thread_id": str(run.thread_id),
        "run_id": str(run.run_id),
        "assistant_id": str(system_assistant_id("planning")),
        "graph_id": "planning",
        "graph_version": world.registry.stamp("planning")["topology_hash"],
        "run_attempt": 1,
    }
    assert expected["graph_version"]
    for span in ingest.trace(run.run_id):
        metadata = span["extra"]["metadata"]
        assert {key: metadata.get(key) for key in expected} == expected, span["name"]


async def test_an_interrupt_is_no_error_at_any_depth(world: World, ingest: Ingest) -> None:
    tool, subgraph = await ask(world), await ask(world, "outer")
    await arrived(ingest, tool.run_id, subgraph.run_id)
    assert ingest.tree(subgraph.run_id) == ["outer", "  inner", "    LangGraph", "      ask"]
    for run in (tool, subgraph):
        assert [span.get("error") for span in ingest.trace(run.run_id) if span.get("error")] == []


async def test_a_resumed_subgraph_is_a_trace_of_its_own(world: World, ingest: Ingest) -> None:
    asked = await ask(world, "outer")
    answered = await resume(world, asked, "outer")
    await arrived(ingest, answered.run_id)
    assert [line.strip() for line in ingest.tree(answered.run_id)][-1] == "ask"
    threads = {span["extra"]["metadata"]["thread_id"] for span in ingest.spans.values()}
    assert threads == {str(asked.thread_id)}


@pytest.mark.parametrize("ingest", WAYS, indirect=True, ids=["zstd", "multipart", "batch"])
async def test_a_killed_run_s_next_attempt_is_a_trace_of_its_own(world: World, ingest: Ingest) -> None:
    asked = await world.engine.queue.create(world.ask_for("planning", {**QUESTION, "patience": "none"}))
    await world.answer(asked)
    request = world.ask_for("planning", thread_id=asked.thread_id, kwargs={"command": {"resume": "yes"}})
    run = await world.engine.queue.create(request)
    await world.reach(run, ".node_started", 2)
    with psycopg.connect(plain_of(world.database), autocommit=True) as connection:
        connection.execute("update runs set process_id = %s where run_id = %s", [uuid4(), run.run_id])
        connection.execute("update thread_heads set epoch = epoch + 1 where thread_id = %s", [run.thread_id])
    await world.answer(run)
    second = trace_id(run.run_id, 2)
    await arrived(ingest, run.run_id, second)
    assert {line.strip() for line in ingest.tree(run.run_id)} == {"planning", "tools", "lookup", "note", "responder"}
    assert ingest.tree(second) == ["planning", "  responder", "    GenericFakeChatModel", "    polish"]
    attempts = [
        {span["extra"]["metadata"]["run_attempt"] for span in ingest.trace(each)} for each in (run.run_id, second)
    ]
    assert attempts == [{1}, {2}]
    assert ingest.spans[str(second)]["extra"]["metadata"]["run_id"] == str(run.run_id)


async def test_a_run_whose_process_was_killed_goes_on_in_another_trace(
    dsn: str, tmp_path: Path, ingest: Ingest
) -> None:
    def post(url: str, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{url}{path}", json={"assistant_id": "planning", **body}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def join(run: str) -> Any:
        return httpx.get(f"{run}/join", timeout=30).json()

    async def has_responder() -> bool:
        return "  responder" in ingest.tree(run_id)

    with start_traced(dsn, tmp_path, ingest.url, {}) as first:
        thread = f"/threads/{post(first.url, '/threads')['thread_id']}"
        asked = post(first.url, f"{thread}/runs/wait", input={**QUESTION, "patience": "none"})
        assert asked["__interrupt__"]
        run_id = post(first.url, f"{thread}/runs", command={"resume": "yes"})["run_id"]
        await eventually(has_responder)
        first.process.kill()
    with start_traced(dsn, tmp_path, ingest.url, {}) as second:
        answer = join(f"{second.url}{thread}/runs/{run_id}")
        assert answer["messages"][-1]["content"] == "done"
        retried = trace_id(UUID(run_id), 2)
        await arrived(ingest, retried)
    assert ingest.tree(retried) == ["planning", "  responder", "    GenericFakeChatModel", "    polish"]
    unfinished = {span["name"] for span in ingest.trace(run_id) if not span.get("end_time")}
    assert unfinished == {"planning", "responder"}


async def test_a_failed_run_s_error_is_on_its_root(world: World, ingest: Ingest) -> None:
    kwargs = {"config": {"configurable": {"user_token": "canary-of-the-root"}}, "input": QUESTION}
    run = await ask(world, "telling", kwargs=kwargs)
    await arrived(ingest, run.run_id)
    assert ingest.spans[str(run.run_id)]["error"].startswith("ValueError('bad token ***")


async def test_a_run_may_name_its_project_and_its_tags(world: World, ingest: Ingest) -> None:
    tracer = {"project_name": "elsewhere", "example_id": str(uuid4())}
    kwargs = {"input": QUESTION, "langsmith_tracer": tracer, "config": {"tags": ["red"]}}
    run = await ask(world, "quick", kwargs=kwargs)
    await arrived(ingest, run.run_id)
    assert {span["session_name"] for span in ingest.trace(run.run_id)} == {"elsewhere"}
    root = ingest.spans[str(run.run_id)]
    assert (root["tags"], root["reference_example_id"]) == (["red"], tracer["example_id"])


async def test_a_run_outside_of_the_sample_sends_nothing(database: Database, tmp_path: Path, ingest: Ingest) -> None:
    async with open_traced_world(database, tmp_path, ingest, sampling_rate=0.5) as world:
        runs = [await ask(world, "quick") for _ in range(12)]
        counts = world.engine.tracing.counts
    inside = {str(run.run_id) for run in runs if is_sampled(run.run_id, 0.5)}
    assert {span["trace_id"] for span in ingest.spans.values()} == inside
    assert counts.unsampled_runs == 12 - len(inside)


def test_the_sample_is_as_large_as_asked_and_grows_with_the_rate() -> None:
    ids = [uuid4() for _ in range(4000)]
    tenth = {each for each in ids if is_sampled(each, 0.1)}
    assert 300 < len(tenth) < 500
    assert tenth <= {each for each in ids if is_sampled(each, 0.2)}
    assert [sum(is_sampled(each, rate) for each in ids) for rate in (0.0, 1.0)] == [0, 4000]


@pytest.mark.parametrize(("multipart", "zstd"), [(True, True), (True, False), (False, False)])
async def test_traces_arrive_by_whatever_way_the_service_offers(
    database: Database, tmp_path: Path, multipart: bool, zstd: bool
) -> None:
    with serve_ingest(multipart=multipart, zstd=zstd) as ingest:
        async with open_traced_world(database, tmp_path, ingest) as world:
            first = await ask(world, "quick")
            await arrived(ingest, first.run_id)
            second = await ask(world, "quick")
            await arrived(ingest, second.run_id)
        path, headers = ingest.requests[-1]
        assert path == ("/runs/multipart" if multipart else "/runs/batch")
        assert (headers.get("content-encoding") == "zstd") is zstd
        assert headers["x-api-key"] == "lsv2_test"
        assert ingest.tree(first.run_id) == ingest.tree(second.run_id) == ["quick", "  step"]


async def test_without_a_key_nothing_is_traced_whatever_the_environment_says(
    database: Database, tmp_path: Path, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", ingest.url)
    async with open_traced_world(database, tmp_path, ingest, api_key=None) as world:
        await ask(world, "quick")
        assert not world.engine.tracing.is_on
    assert ingest.requests == []


async def test_inputs_and_outputs_can_be_kept_back(database: Database, tmp_path: Path, ingest: Ingest) -> None:
    async with open_traced_world(database, tmp_path, ingest, hide_inputs=True, hide_outputs=True) as world:
        run = await ask(world, "planning")
        await arrived(ingest, run.run_id)
    assert "oak" not in ingest.text()
