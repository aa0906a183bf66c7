"""Exports: files that agree with the API, read back by another tool, in memory that does not grow."""

import asyncio
import json
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import duckdb
import pyarrow  # type: ignore[import-untyped]  # the package has no types
import pytest

from threadline.checkpoints.pool import Pool, open_pool
from threadline.replay.export import export
from threadline.replay.files import Format
from threadline.replay.tables import EVENTS, RUNS, STEPS, THREADS, to_microseconds
from threadline.runs.errors import Invalid, ThreadNotFound
from threadline.tests.laboratory.places import reach
from threadline.tests.replay.conftest import Past
from threadline.tests.replay.frames import events_of

NAMES = ("threads", "runs", "events", "steps")


def written(past: Past, folder: Path, form: Format = Format.PARQUET, **choice: Any) -> dict[Path, int]:
    async def run() -> dict[Path, int]:
        async with open_pool(reach(past.dsn), "export") as pool:
            return await export(pool, folder, form, **choice)

    return asyncio.run(run())


def read(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    """Ask DuckDB; `{name}` stands for the file of that table."""
    names = {name: f"'{folder / name}.parquet'" for name in NAMES}
    with duckdb.connect() as connection:
        return connection.execute(statement.format(**names)).fetchall()


@pytest.fixture
def filled(past: Past) -> Past:
    """Threads of all kinds: finished, asking, answered, failed, with subgraphs and with tokens."""
    for _ in range(3):
        past.run("steps", stream_mode=["values", "updates", "custom"])
    past.run("talking", input={"messages": ["hello"]}, stream_mode=["messages-tuple"])
    past.run("failing")
    past.run("asking")
    past.run("reporting", input={"notes": ["\u0000", "\u2028"]})
    thread_id, _, _ = past.run("nested")
    past.answer(thread_id, "nested")
    return past


def test_parquet_read_back_by_duckdb_agrees_with_the_api(filled: Past, tmp_path: Path) -> None:
    rows = written(filled, tmp_path)
    assert set(rows) == {tmp_path / f"{name}.parquet" for name in NAMES}
    for path, count in rows.items():
        assert read(tmp_path, f"select count(*) from '{path}'") == [(count,)]
    threads = filled.http.post("/threads/search", json={"limit": 1000}).json()
    columns = 'thread_id, status, epoch_us(created_at), metadata, "values", error'
    found = read(tmp_path, f"select {columns} from {{threads}}")
    assert {row[0]: (*row[1:3], *map(_parse, row[3:])) for row in found} == {
        each["thread_id"]: (
            each["status"],
            to_microseconds(datetime.fromisoformat(each["created_at"])),
            each["metadata"],
            each["values"],
            each["error"],
        )
        for each in threads
    }
    for thread in threads:
        _agree(filled, tmp_path, thread["thread_id"])


def _agree(past: Past, folder: Path, thread_id: str) -> None:
    where = f"where thread_id = '{thread_id}'"
    runs = past.http.get(f"/threads/{thread_id}/runs?limit=1000").json()
    found = read(folder, f"select run_id, status, assistant_id, kwargs, metadata from {{runs}} {where}")
    assert {row[0]: (*row[1:3], *map(_parse, row[3:])) for row in found} == {
        run["run_id"]: (run["status"], run["assistant_id"], run["kwargs"], run["metadata"]) for run in runs
    }
    for run in runs:
        played = events_of(past.http.get(f"/threads/{thread_id}/runs/{run['run_id']}/events").content)
        logged = read(
            folder,
            f"select seq, name, data from {{events}} where run_id = '{run['run_id']}' and name[1] <> '.' order by seq",
        )
        assert [(seq, name, _parse(data)) for seq, name, data in logged] == [(e.id, e.name, e.data) for e in played]
    columns = 'checkpoint_id, parent_checkpoint_id, step, source, "values", metadata'
    steps = read(folder, f"select {columns} from {{steps}} {where} and checkpoint_ns = '' order by checkpoint_id")
    states = past.history(thread_id)
    assert [row[0] for row in steps] == [state["checkpoint_id"] for state in states]
    for row, state in zip(steps, states, strict=True):
        assert row[1:4] == (state["parent_checkpoint_id"], state["metadata"]["step"], state["metadata"]["source"])
        assert row[3] == "input" or _parse(row[4]) == state["values"]
        assert _parse(row[5]) == state["metadata"]
    view = past.http.get(f"/threads/{thread_id}/timeline?limit=1000&subgraphs=true").json()
    told = read(folder, f"select checkpoint_id, patch, nodes, tokens from {{steps}} {where} order by checkpoint_id")
    assert [(row[0], _parse(row[1]), _parse(row[2]), row[3]) for row in told] == [
        (each["checkpoint_id"], each["patch"], each["nodes"], each["tokens"]) for each in view if each["checkpoint_id"]
    ]


def _parse(text: str | None) -> Any:
    return json.loads(text) if text is not None else None


def test_json_lines_hold_the_same_as_parquet(filled: Past, tmp_path: Path) -> None:
    counts = [sorted(written(filled, tmp_path, form).values()) for form in Format]
    assert counts[0] == counts[1]
    for name in NAMES:
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_bytes().splitlines()]
        kinds = THREADS if name == "threads" else {"runs": RUNS, "events": EVENTS, "steps": STEPS}[name].columns
        columns = ", ".join(f'epoch_us("{each}")' if kind == "time" else f'"{each}"' for each, kind in kinds.items())
        rows = read(tmp_path, f"select {columns} from {{{name}}}")
        for line, row in zip(lines, rows, strict=True):
            assert list(line) == list(kinds)
            for kind, value, stored in zip(kinds.values(), line.values(), row, strict=True):
                time = to_microseconds(datetime.fromisoformat(value)) if kind == "time" and value else value
                assert time == (_parse(stored) if kind == "json" else stored)


def test_an_export_holds_whole_threads_that_changed_since_then(filled: Past, tmp_path: Path) -> None:
    since = datetime.now(UTC)
    changed = filled.http.post("/threads/search", json={"limit": 1}).json()[0]["thread_id"]
    assert sum(written(filled, tmp_path, since=since).values()) == 0
    filled.run("nested", changed)
    assert written(filled, tmp_path, since=since)[tmp_path / "threads.parquet"] == 1
    assert read(tmp_path, "select distinct thread_id from {events}") == [(changed,)]
    assert read(tmp_path, "select count(distinct run_id) from {runs}") == [(3,)]
    one = written(filled, tmp_path / "one", thread_id=UUID(changed))
    assert one[tmp_path / "one" / "threads.parquet"] == 1


def test_threads_of_stateless_runs_are_left_out_unless_named(past: Past, tmp_path: Path) -> None:
    past.http.post("/runs/wait", json={"assistant_id": "steps", "input": {"log": []}}).raise_for_status()
    [(hidden,)] = past.rows("select thread_id from threads where hidden")
    assert sum(written(past, tmp_path).values()) == 0
    assert written(past, tmp_path, thread_id=hidden)[tmp_path / "threads.parquet"] == 1


def test_a_failed_export_leaves_the_files_of_the_last_one(past: Past, tmp_path: Path) -> None:
    past.run("steps")
    before = {path: path.read_bytes() for path in written(past, tmp_path, Format.JSONL)}

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        written(past, tmp_path, Format.JSONL, on_progress=fail)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(ThreadNotFound):
        written(past, tmp_path, thread_id=uuid4())


def test_parquet_without_its_package_says_what_to_install(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Invalid, match=r"install threadline\[analytics\]"):
        written(past, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_export_tells_how_far_it_is(filled: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[dict[str, int], dict[str, int]]] = []
    monkeypatch.setattr("threadline.replay.export._REPORT_EVERY", 10)
    written(filled, tmp_path, on_progress=lambda expected, so_far: told.append((dict(expected), dict(so_far))))
    assert len(told) > 5
    assert told[-1][0] == told[-1][1]
    for earlier, later in pairwise(told):
        assert all(earlier[1][name] <= later[1][name] for name in NAMES)


async def fill(pool: Pool, *, threads: int, rows: int) -> None:
    """Store `rows` rows of 25 events of 2 kB each on each thread."""
    event = json.dumps({"text": "x" * 2000})
    contents = json.dumps([["values", len(event), 1_700_000_000_000_000 + n] for n in range(25)])
    for _ in range(threads):
        thread_id = uuid4()
        async with pool.connection() as connection:
            await connection.execute("insert into threads (thread_id) values (%s)", [thread_id])
            await connection.execute(
                "insert into thread_heads (thread_id, last_seq) values (%s, %s)", [thread_id, rows * 25]
            )
            await connection.execute(
                "insert into run_events select %(thread)s, n * 25 + 1, (n + 1) * 25, %(thread)s, %(contents)s::json, "
                "convert_to(%(payload)s, 'UTF8') from generate_series(0, %(rows)s - 1) n",
                {"thread": thread_id, "contents": contents, "payload": event * 25, "rows": rows},
            )


@pytest.mark.slow  # it exports what would not fit into memory
@pytest.mark.parametrize("form", Format)
async def test_the_memory_of_an_export_does_not_grow_with_what_is_exported(
    pool: Pool, tmp_path: Path, form: Format
) -> None:
    """50,000 events are 100 MB of payload; what is held of them at any moment is a small part."""
    await fill(pool, threads=4, rows=500)
    tracemalloc.start()
    try:
        files_written = await export(pool, tmp_path, form)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert files_written[tmp_path / f"events.{form}"] == 50_000
    assert peak < 40 * 1024 * 1024
    assert pyarrow.default_memory_pool().bytes_allocated() < 40 * 1024 * 1024


def test_an_export_beside_running_work_is_of_one_moment(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events are written while it reads, after each row: what it holds fits together all the same."""
    thread_id, _, _ = past.run("steps")
    monkeypatch.setattr("threadline.replay.export._REPORT_EVERY", 1)
    disturbed: list[int] = []

    def disturb(_expected: dict[str, int], so_far: dict[str, int]) -> None:
        past.run("steps", thread_id)
        disturbed.append(sum(so_far.values()))

    written(past, tmp_path, on_progress=disturb)
    assert disturbed[0] < 3 < len(disturbed)
    assert read(tmp_path, "select max(seq) = count(*) from {events}") == [(True,)]
    assert read(tmp_path, "select count(*) from {runs}") == [(1,)]
    assert read(tmp_path, "select count(*) from {steps}") == [(4,)]


def test_times_are_of_microseconds_and_of_utc(filled: Past, tmp_path: Path) -> None:
    written(filled, tmp_path)
    [(lowest, highest, kind)] = read(
        tmp_path, "select epoch_us(min(time)), epoch_us(max(time)), any_value(typeof(time)) from {events}"
    )
    begin, end = (to_microseconds(datetime.now(UTC) + timedelta(minutes=each)) for each in (-5, 1))
    assert kind == "TIMESTAMP WITH TIME ZONE"
    assert begin is not None
    assert end is not None
    assert begin < lowest < highest < end
