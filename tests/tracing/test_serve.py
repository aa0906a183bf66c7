"""The guide of tracing, followed from its first command to its last: `make run`, a run, an outage, sending again."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from threadline.tests.commands.guides import Block, Reader, read_guide
from threadline.tests.laboratory.places import variables as way_to
from threadline.tests.source import ROOT
from threadline.tests.tracing.ingest import Ingest, serve_ingest
from threadline.tests.tracing.traced_world import QUESTION


def wait_until(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with serve_ingest() as served:
        yield served


@pytest.fixture
def reader(dsn: str, tmp_path: Path, ingest: Ingest) -> Iterator[Reader]:
    """Somebody in the clone, whose LangSmith is the stand-in."""
    variables = {**way_to(dsn), "THREADLINE_DATA_DIR": str(tmp_path / "data"), "LANGSMITH_ENDPOINT": ingest.url}
    reading = Reader(ROOT, tmp_path, **variables)
    yield reading
    reading.abandon()


def ask(url: str) -> str:
    """Let the assistant answer, and return the run's id."""
    answer = httpx.post(f"{url}/runs/wait", json={"assistant_id": "assistant", "input": QUESTION}, timeout=30)
    return answer.headers["location"].split("/")[-2]


@pytest.mark.slow  # several programs, one after the other
@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's readers have curl")
def test_the_guide_of_tracing_does_what_it_says(reader: Reader, ingest: Ingest) -> None:
    blocks = [block for block in read_guide("docs/tracing.md") if block.kind]
    switch_on, run, praised, resend = blocks
    assert {block.kind for block in blocks} == {"sh"}
    reader.follow(switch_on)
    assert httpx.get(f"{reader.url}/info").json()["flags"]["langsmith"] is True
    assert "What is 12 * 31?" in reader.follow(run)
    wait_until(lambda: any(map(ingest.is_whole, traces(ingest))))
    (evaluated,) = traces(ingest)
    look_at_the_run(ingest, evaluated)
    ordinary = ask(reader.url)
    wait_until(lambda: ingest.is_whole(ordinary))
    assert {span["session_name"] for span in ingest.trace(ordinary)} == {"research"}
    streamed = reader.follow(praised)
    assert 'event: feedback\ndata: {"thumbs":"' + ingest.url in streamed
    wait_until(lambda: told(reader)["sent"] > 0)
    assert (told(reader)["spooled"], told(reader)["dropped"]) == (0, 0)
    spool_and_send_again(reader, ingest, resend)


def told(reader: Reader) -> dict[str, int]:
    """What the server says of its traces."""
    counts: dict[str, int] = httpx.get(f"{reader.url}/info").json()["tracing"]
    return counts


def traces(ingest: Ingest) -> set[str]:
    return {span["trace_id"] for span in ingest.spans.values()}


def look_at_the_run(ingest: Ingest, run_id: str) -> None:
    names = [line.strip() for line in ingest.tree(run_id)]
    assert names[0] == "assistant"
    assert {"planner", "tools", "calculate", "responder"} <= set(names)
    assert {span["session_name"] for span in ingest.trace(run_id)} == {"evaluation"}
    assert "llm" in {span["run_type"] for span in ingest.trace(run_id)}
    assert "nightly" in ingest.spans[run_id]["tags"]


def spool_and_send_again(reader: Reader, ingest: Ingest, resend: Block) -> None:
    ingest.status = 500
    missed = ask(reader.url)
    reader.stop()
    assert not ingest.trace(missed)
    ingest.status = 202
    assert ", 0 left" in reader.follow(resend)
    assert ingest.is_whole(missed)
