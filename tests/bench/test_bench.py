"""What the benchmark promises: it runs, it counts nothing that did not succeed, and its page misses no row."""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from threadline.bench.children import ContenderFailed, run_child
from threadline.bench.contenders import CONTENDERS, OFFICIAL, SERVER_1, Case, Result, list_cases
from threadline.bench.figures import judge, ratio, runs_case, runs_per_second
from threadline.bench.http_client import Answer, connect, make_request
from threadline.bench.machine import Machine
from threadline.bench.processes import Usage
from threadline.bench.report import Report
from threadline.bench.sitting import Plan, Results
from threadline.bench.slices import Measure, Order, Sample
from threadline.bench.workload import STEPS_RESULT, WrongResult, check
from threadline.tests.source import ROOT

RUN: list[str] = [sys.executable, str(ROOT / "bench" / "run.py"), "--quick", "--seconds", "0.1"]
WRONG = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of each row of the page's tables, by their first."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {first.strip(): cells for first, *cells in lines}


def read_results(folder: Path) -> Any:
    """Return the one document in the folder."""
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text("utf-8"))


@pytest.mark.slow
async def test_a_quick_sitting_measures_every_case_and_fills_every_row(server_dsn: str, tmp_path: Path) -> None:
    bench = await asyncio.create_subprocess_exec(
        *RUN, "--postgres", server_dsn, "--results", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(bench.communicate(), 300)
    except TimeoutError:
        bench.send_signal(signal.SIGTERM)  # it takes what it started with it
        await bench.wait()
        raise
    page = output.decode()
    assert bench.returncode == 0, page

    kept = read_results(tmp_path)
    slices = {(each["contender"], each["measure"], each["clients"]): each["rounds"] for each in kept["slices"]}
    assert set(slices) == {(case.contender.name, str(case.measure), case.clients) for case in list_cases(CONTENDERS)}
    for (_, measure, clients), (only,) in slices.items():
        assert only["sample"]["runs"] >= clients
        assert only["sample"]["events"] == (300 * only["sample"]["runs"] if measure == Measure.BURST else 0)

    assert (tmp_path / "latest.md").read_text("utf-8").strip() == page.strip()
    found = rows(page)
    for contender in CONTENDERS:
        assert "-" not in found[contender.title]
        assert len(found[contender.title]) == 7
    assert "-" not in found["first event, ms (one stream at a time)"]
    assert "-" not in found["bursts of events, events/s (32 clients)"]
    assert page.count("PASS: ") + page.count("FAIL: ") == 4
    assert "its numbers mean nothing" in page


async def test_every_run_of_the_official_saver_that_is_counted_is_in_the_database(dsn: str) -> None:
    async with run_child("in_process", "official", dsn) as child:
        sample = await child.measure(Order(Measure.RUNS, 4, 0.2))
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "select count(distinct thread_id), count(*) from checkpoints where metadata ->> 'step' = '3'"
        ).fetchone()
    assert sample.runs >= 4
    assert found == (sample.runs, sample.runs)


async def test_every_run_of_our_engine_that_is_counted_is_a_success_in_the_database(dsn: str) -> None:
    async with run_child("in_process", "engine", dsn) as child:
        sample = await child.measure(Order(Measure.RUNS, 4, 0.2))
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select status, count(*) from runs group by status").fetchall()
    assert sample.runs >= 4
    assert found == [("success", sample.runs)]


async def test_a_wrong_answer_ends_the_sitting_instead_of_being_counted(capfd: pytest.CaptureFixture[str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WRONG)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as peer:
        port = str(peer.sockets[0].getsockname()[1])
        with pytest.raises(ContenderFailed, match="ended with code 1"):
            async with run_child("http_load", "127.0.0.1", port) as child:
                await child.measure(Order(Measure.RUNS, 1, 0.1))
    assert "WrongResult" in capfd.readouterr().err


def test_a_result_that_lacks_a_node_is_wrong() -> None:
    check({"log": ["in", "a", "b", "c"]}, STEPS_RESULT)
    with pytest.raises(WrongResult, match="instead of"):
        check({"log": ["in", "a", "b"]}, STEPS_RESULT)


async def test_a_connection_takes_answers_in_pieces_and_stays_open() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /pieces"):
            for piece in (b"HTTP/1.1 200 OK\r\ntransfer-", b"encoding: chunked\r\n\r\n3\r\non", b"e\r\n0\r\n\r\n"):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as peer:
        (connection,) = await connect("127.0.0.1", peer.sockets[0].getsockname()[1], 1)
        for _ in range(2):
            found: Answer = await connection.ask(make_request("GET", "/pieces"))
            assert (found.status, found.body) == (200, b"one")
            assert found.arrival_of(b"on") <= found.arrival_of(b"one")
        with pytest.raises(ConnectionError):
            await connection.ask(make_request("GET", "/end"))


def result(runs: int) -> Result:
    return Result(Sample(runs, 0, 1.0, 0.0, latency=0.01), Usage())


def test_ratios_are_taken_round_by_round() -> None:
    ours, theirs = runs_case(SERVER_1, 32), runs_case(OFFICIAL, 32)
    results = Results({ours: [result(300), result(100), result(900)], theirs: [result(100), result(50), result(200)]})
    found = ratio(results, ours, theirs, runs_per_second)
    assert found is not None
    assert (found.median, found.low, found.high) == (3.0, 2.0, 4.5)


def targets(cases: dict[Case, list[Result]]) -> Sequence[bool | None]:
    return [target.met for target in judge(Results(cases))]


def test_a_target_is_missed_below_its_limit_and_unknown_where_nothing_was_measured() -> None:
    ours, theirs = runs_case(SERVER_1, 32), runs_case(OFFICIAL, 32)
    assert targets({ours: [result(250)], theirs: [result(100)]}) == [True, None, None, None]
    assert targets({ours: [result(249)], theirs: [result(100)]}) == [False, None, None, None]


def test_a_page_says_what_was_not_measured() -> None:
    machine = Machine("Linux", 2, 0.0, "", "3.13", "18", 1.0, {})
    report = Report(datetime.now(UTC), machine, Plan(1, 1.0), [], [OFFICIAL], Results())
    page = report.as_markdown()
    assert rows(page)[OFFICIAL.title] == ["-"] * 7
    assert page.count("- not measured: ") == 4


@pytest.mark.parametrize(("load", "is_busy"), [(0.4, False), (0.6, True)])
def test_a_busy_machine_is_told(load: float, is_busy: bool) -> None:
    assert Machine("Linux", 2, load, "", "3.13", "18", 1.0, {}).is_busy == is_busy
