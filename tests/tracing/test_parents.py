"""The headers of a caller's trace: believed if asked for, ignored if they are none, and never a failure."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from threadline.checkpoints.pool import Database
from threadline.runs.trace_parent import MAX_LENGTH, read_parent
from threadline.tests.runs.life_world import eventually
from threadline.tests.tracing.ingest import Ingest, serve_ingest
from threadline.tests.tracing.traced_process import TracedProcess, start_traced
from threadline.tests.tracing.traced_world import QUESTION, arrived, open_traced_world

TIME = "20260131T120000000000Z"
ROOT, CHILD = uuid4(), uuid4()
TRACE = f"{TIME}{ROOT}.{TIME}{CHILD}"
METADATA = quote('{"tenant":"blue","their_token":"canary","number":3}')
KEPT = quote('{"tenant":"blue"}')


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with serve_ingest() as served:
        yield served


@pytest.fixture
def server(dsn: str, tmp_path: Path, ingest: Ingest) -> Iterator[TracedProcess]:
    with start_traced(dsn, tmp_path, ingest.url, {"THREADLINE_TRACE_PARENTS": "true"}) as started:
        yield started


def ask(url: str, headers: dict[str, str]) -> str:
    """Make a run under these headers and return its id once it has ended."""
    body = {"assistant_id": "quick", "input": QUESTION}
    answer = httpx.post(f"{url}/runs/wait", json=body, headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.headers["location"].split("/")[-2]


async def test_a_run_is_a_child_of_its_caller_s_span(server: TracedProcess, ingest: Ingest) -> None:
    baggage = f"langsmith-metadata={METADATA},langsmith-tags=red,langsmith-project=theirs"
    run_id = ask(server.url, {"langsmith-trace": TRACE, "baggage": baggage})

    async def has_come() -> bool:
        return "end_time" in ingest.spans.get(run_id, {})

    await eventually(has_come)
    span = ingest.spans[run_id]
    assert (span["trace_id"], span["parent_run_id"]) == (str(ROOT), str(CHILD))
    assert span["dotted_order"].startswith(f"{TRACE}.")
    assert {each["session_name"] for each in ingest.spans.values()} == {"default"}
    assert "red" in span["tags"]
    assert span["extra"]["metadata"]["tenant"] == "blue"
    assert "canary" not in ingest.text()


MALFORMED = ("garbage", f"{TRACE}.broken", f"{TIME}{ROOT}.", f"20261331T120000000000Z{ROOT}", "x" * 9000, TIME)


async def test_a_malformed_header_is_ignored_and_the_run_is_a_trace_of_its_own(
    server: TracedProcess, ingest: Ingest
) -> None:
    baggage = "%%%,langsmith-metadata=nonsense"
    runs = [ask(server.url, {"langsmith-trace": trace, "baggage": baggage}) for trace in MALFORMED]
    await arrived(ingest, *runs)
    assert server.log.count("trace.parent_ignored") == len(MALFORMED)
    assert [ingest.spans[run_id].get("parent_run_id") for run_id in runs] == [None] * len(MALFORMED)


async def test_headers_are_not_looked_at_unless_asked_for(dsn: str, tmp_path: Path, ingest: Ingest) -> None:
    with start_traced(dsn, tmp_path, ingest.url, {}) as server:
        run_id = ask(server.url, {"langsmith-trace": TRACE})

        await arrived(ingest, run_id)
    assert ingest.spans[run_id].get("parent_run_id") is None


async def test_a_parent_that_waited_in_the_queue_is_restored(
    database: Database, tmp_path: Path, ingest: Ingest
) -> None:
    async with open_traced_world(database, tmp_path, ingest, accept_parents=True) as world:
        kwargs = {"input": QUESTION, "trace_parent": {"langsmith-trace": TRACE}}
        run = await world.engine.queue.create(world.ask_for("quick", kwargs=kwargs))
        await world.answer(run)

        async def has_come() -> bool:
            return "end_time" in ingest.spans.get(str(run.run_id), {})

        await eventually(has_come)
    assert ingest.spans[str(run.run_id)]["parent_run_id"] == str(CHILD)


def test_what_is_kept_of_baggage_is_metadata_and_tags() -> None:
    baggage = (
        f"other=1,langsmith-replicas=%5B%5D,langsmith-metadata={METADATA},langsmith-project=x,langsmith-tags=a%2Cb"
    )
    kept = read_parent({"langsmith-trace": TRACE, "baggage": baggage})
    assert kept is not None
    assert kept["baggage"] == f"langsmith-metadata={KEPT},langsmith-tags=a%2Cb"


def test_there_is_no_parent_without_the_header() -> None:
    assert read_parent({"baggage": "langsmith-tags=a"}) is None


def test_baggage_that_is_too_long_is_left_out() -> None:
    baggage = "langsmith-tags=" + "a" * MAX_LENGTH
    assert read_parent({"langsmith-trace": TRACE, "baggage": baggage}) == {"langsmith-trace": TRACE}
