"""An endpoint that is dead, slow or refuses: runs go on, the process ends in time, and no trace is lost."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from time import monotonic, sleep
from uuid import uuid4

import httpx
import pytest

from threadline.checkpoints.pool import Database
from threadline.runs import trace_client, trace_outbox
from threadline.runs.trace_client import TraceClient
from threadline.runs.trace_outbox import Outbox, TraceCounts
from threadline.runs.trace_spool import Spool, TraceRequest, read_trace, resend
from threadline.tests.tracing.ingest import serve_ingest
from threadline.tests.tracing.traced_graphs import WIDTH
from threadline.tests.tracing.traced_process import start_traced
from threadline.tests.tracing.traced_world import QUESTION, open_traced_world

KEY = {"x-api-key": "lsv2_test"}
BATCH = TraceRequest("runs/batch", {"Content-Type": "application/json"}, b'{"post":[{"id":"1"}],"patch":[{"id":"1"}]}')


@contextmanager
def serve_nothing() -> Iterator[str]:
    """The address of a port that refuses connections, and will until the end of the block."""
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def serve_silence() -> Iterator[str]:
    """The address of a service that takes traces and never answers."""
    with serve_ingest(hangs=True) as ingest:
        yield ingest.url


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


@pytest.mark.slow  # a process with 5,000 spans in it, timed to its exit
@pytest.mark.parametrize("serve_endpoint", [serve_nothing, serve_silence])
def test_a_process_ends_in_time_with_a_dead_endpoint_and_all_its_spans_are_sent_later(
    dsn: str, tmp_path: Path, serve_endpoint: Callable[[], AbstractContextManager[str]]
) -> None:
    runs = []
    with serve_endpoint() as url, start_traced(dsn, tmp_path, url, {}) as server:
        with httpx.Client(base_url=server.url, timeout=30) as http:
            for _ in range(10):
                body = {"assistant_id": "broad", "input": QUESTION, "on_completion": "keep"}
                answer = http.post("/runs/wait", json=body)
                answer.raise_for_status()
                runs.append(answer.headers["location"].split("/")[-2])
            told = http.get("/info").json()["tracing"]
        assert told["sent"] == told["dropped"] == 0
        if serve_endpoint is serve_silence:  # which says nothing for so long that all of them wait in memory
            assert told["spooled"] == 0
            assert told["waiting_bytes"] > 5000 * 500
        assert server.stop() < 5, server.log
        assert "lsv2_test" not in server.log
    with serve_ingest() as ingest:
        progress: list[tuple[int, int]] = []
        resent = resend(server.spool, ingest.url, KEY, lambda done, total: progress.append((done, total)))
        assert (resent.left, resent.reason) == (0, None)
        assert progress[-1] == (resent.sent, resent.sent)
        assert len(ingest.spans) == 10 * (WIDTH + 2) >= 5000
        assert all(ingest.is_whole(run) for run in runs)
        assert {len(ingest.trace(run)) for run in runs} == {WIDTH + 2}


@pytest.mark.parametrize("options", [{"hangs": True}, {"status": 500}, {"status": 401}, {"delay": 2.0}])
async def test_runs_are_as_quick_as_ever_beside_an_endpoint_that_is_not(
    database: Database, tmp_path: Path, options: dict[str, object]
) -> None:
    with serve_ingest(**options) as ingest:
        async with open_traced_world(database, tmp_path, ingest, flush=0.1) as world:
            started = monotonic()
            for _ in range(20):
                await world.answer(await world.engine.queue.create(world.ask_for("quick", QUESTION)))
            # Each would take two seconds and more if it waited for the network.
            assert monotonic() - started < 10
        counts = world.engine.tracing.counts
        if "delay" not in options:
            assert counts.sent == 0
        assert counts.spooled > 0
        assert counts.dropped == 0
    with serve_ingest() as later:
        resend(tmp_path / "traces", later.url, KEY)
        assert len({*later.spans, *ingest.spans}) == 40


def memory(pid: int) -> float:
    """The megabytes that a process holds."""
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) / 1024


@pytest.mark.slow  # thousands of runs with large states
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory where Linux tells it")
@pytest.mark.parametrize("serve_endpoint", [serve_nothing, serve_silence])
def test_thousands_of_runs_beside_a_dead_endpoint_do_not_fill_the_memory(
    dsn: str, tmp_path: Path, serve_endpoint: Callable[[], AbstractContextManager[str]]
) -> None:
    """Four hundred megabytes of spans, of which a hundred have a place in the spool."""
    body = {"assistant_id": "quick", "input": {"messages": [{"role": "user", "content": "x" * 50_000}]}}
    with serve_endpoint() as url, start_traced(dsn, tmp_path, url, {"LOG_LEVEL": "warning"}) as server:

        def ask(runs: int) -> None:
            with httpx.Client(base_url=server.url, timeout=60) as http:
                for _ in range(runs):
                    http.post("/runs/wait", json=body).raise_for_status()

        def load(runs: int) -> float:
            with ThreadPoolExecutor(8) as clients:
                list(clients.map(ask, [runs // 8] * 8))
            return memory(server.process.pid)

        before, *after = (load(runs) for runs in (80, 800, 800, 800))
        told = httpx.get(f"{server.url}/info").json()["tracing"]
        spooled = sum(path.stat().st_size for path in server.spool.iterdir())
        assert server.stop() < 5
    assert after[-1] - before < 350, after
    assert after[-1] - after[-2] < 60, after
    assert told["sent"] == 0
    assert told["spooled"] > 0
    assert told["dropped"] > 0
    assert told["waiting_bytes"] <= 2 * 32 * 1024 * 1024 + 25_000_000
    assert spooled <= 110 * 1024 * 1024


@pytest.fixture
def counts() -> TraceCounts:
    return TraceCounts()


def make_outbox(folder: Path, counts: TraceCounts, max_bytes: int = 10_000_000) -> Outbox:
    return Outbox(Spool(folder, max_bytes), counts)


def post(outbox: Outbox, url: str, request: TraceRequest = BATCH) -> None:
    headers = {**request.headers, **KEY}
    answer = outbox.request("POST", f"{url}/{request.endpoint}", data=request.body, headers=headers)
    assert answer.status_code == 202


def test_what_waits_is_bounded_and_the_rest_is_spooled(
    tmp_path: Path, counts: TraceCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_outbox, "MAX_BYTES", 3 * len(BATCH.body))
    with serve_silence() as url:
        outbox = make_outbox(tmp_path, counts)
        for _ in range(10):
            post(outbox, url)
        assert counts.spooled == 7
        outbox.finish(0)
        assert counts.spooled == 10
        post(outbox, url)
    assert len(Spool(tmp_path, 0).files()) == 11


def test_a_service_that_is_away_for_a_moment_loses_nothing(tmp_path: Path, counts: TraceCounts) -> None:
    with serve_ingest(status=503) as ingest:
        outbox = make_outbox(tmp_path, counts)
        post(outbox, ingest.url)
        ingest.status = 202
        wait_until(lambda: counts.sent == 1)
        outbox.finish(1)
    assert counts == TraceCounts(sent=1)


def test_a_service_that_was_away_is_asked_again_after_a_pause(
    tmp_path: Path, counts: TraceCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_outbox, "RETRIES", (0.01,))
    monkeypatch.setattr(trace_outbox, "PAUSE", 0.2)
    with serve_ingest(status=500) as ingest:
        outbox = make_outbox(tmp_path, counts)
        post(outbox, ingest.url)
        wait_until(lambda: counts.spooled == 1)
        ingest.status = 202
        post(outbox, ingest.url)
        assert counts.spooled == 2

        def is_sent() -> bool:
            post(outbox, ingest.url)
            return counts.sent > 0

        wait_until(is_sent)
        outbox.finish(1)


def test_a_request_that_is_refused_holds_up_no_other(tmp_path: Path, counts: TraceCounts) -> None:
    with serve_ingest(status=422) as ingest:
        outbox = make_outbox(tmp_path, counts)
        post(outbox, ingest.url)
        wait_until(lambda: counts.spooled == 1)
        ingest.status = 202
        post(outbox, ingest.url)
        outbox.finish(5)
    assert (counts.sent, counts.spooled) == (1, 1)


def test_the_spool_is_bounded_and_what_it_does_not_take_is_counted(tmp_path: Path, counts: TraceCounts) -> None:
    with serve_nothing() as url:
        outbox = make_outbox(tmp_path, counts, max_bytes=500)
        outbox.finish(0)
        for _ in range(5):
            post(outbox, url)
    assert 0 < counts.spooled < 5
    assert counts.dropped == 2 * (5 - counts.spooled)


def test_a_spool_that_cannot_be_written_is_counted_and_told(
    tmp_path: Path, counts: TraceCounts, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    outbox = make_outbox(tmp_path / "file" / "traces", counts)
    outbox.finish(0)
    post(outbox, "http://127.0.0.1:9")
    assert counts.dropped == 2
    assert [record.message for record in caplog.records] == ["trace.not_spooled"]


def test_only_the_owner_may_read_the_spool_and_no_key_is_in_it(tmp_path: Path, counts: TraceCounts) -> None:
    folder = tmp_path / "traces"
    outbox = make_outbox(folder, counts)
    outbox.finish(0)
    post(outbox, "http://127.0.0.1:9")
    (file,) = Spool(folder, 0).files()
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, file)] == [0o700, 0o600]
    assert "lsv2_test" not in file.read_text()
    assert read_trace(file) == BATCH


def make_client(outbox: Outbox, counts: TraceCounts, url: str, max_items: int) -> TraceClient:
    return TraceClient(
        outbox,
        counts,
        max_items=max_items,
        api_url=url,
        api_key="lsv2_test",
        workspace_id=None,
        hide_inputs=False,
        hide_outputs=False,
    )


def fill(client: TraceClient, number: int, size: int = 1000) -> None:
    for _ in range(number):
        span = uuid4()
        order = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}{span}"
        client.create_run("span", {"text": "x" * size}, "chain", id=span, trace_id=span, dotted_order=order)


def test_spans_that_come_faster_than_they_are_packed_are_counted(tmp_path: Path, counts: TraceCounts) -> None:
    with serve_silence() as url:
        outbox = make_outbox(tmp_path, counts)
        client = make_client(outbox, counts, url, max_items=50)
        fill(client, 2000)
        assert client.tracing_queue is not None
        assert client.tracing_queue.qsize() <= 50
        client.flush(timeout=5)
        outbox.finish(0)
        client.close(timeout=0)
    spooled = sum(read_trace(file).count() for file in Spool(tmp_path, 0).files())
    assert counts.dropped > 0
    assert counts.dropped + spooled == 2000


def test_spans_that_wait_to_be_packed_are_bounded_in_bytes_too(
    tmp_path: Path, counts: TraceCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_client, "MAX_BYTES", 1_000_000)
    with serve_silence() as url:
        outbox = make_outbox(tmp_path, counts, max_bytes=200_000_000)
        client = make_client(outbox, counts, url, max_items=100_000)
        assert client.tracing_queue is not None
        most = 0
        for _ in range(200):
            fill(client, 1, size=100_000)
            most = max(most, client.waiting_bytes)
        client.flush(timeout=5)
        assert client.waiting_bytes == 0
        outbox.finish(0)
        client.close(timeout=0)
    assert 0 < most < 1_200_000
    spooled = sum(read_trace(file).count() for file in Spool(tmp_path, 0).files())
    assert counts.dropped + spooled == 200


def test_what_is_no_trace_is_told_and_left_and_the_others_are_sent(tmp_path: Path) -> None:
    assert Spool(tmp_path, 10_000).save(BATCH)
    (tmp_path / "trace_0.json").write_text('{"version": 1}')
    with serve_ingest() as ingest:
        resent = resend(tmp_path, ingest.url, KEY)
        assert len(ingest.spans) == 1
    assert (resent.sent, resent.left) == (1, 1)
    assert "trace_0.json is no trace that could not be sent" in str(resent.reason)


def test_sending_again_to_an_endpoint_that_is_still_dead_keeps_everything(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    assert spool.save(BATCH)
    assert spool.save(BATCH)
    with serve_nothing() as url:
        resent = resend(tmp_path, url, KEY)
    assert (resent.sent, resent.left) == (0, 2)
    assert "cannot be reached" in str(resent.reason)


def test_sending_again_with_a_key_that_is_refused_stops_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    assert spool.save(BATCH)
    assert spool.save(BATCH)
    with serve_ingest(status=403) as ingest:
        resent = resend(tmp_path, ingest.url, KEY)
    assert (resent.sent, resent.left) == (0, 2)
    assert "with 403" in str(resent.reason)


def test_sending_again_from_where_nothing_is_does_nothing(tmp_path: Path) -> None:
    assert resend(tmp_path / "nowhere", "http://127.0.0.1:9", KEY) == resend(tmp_path, "http://127.0.0.1:9", KEY)
