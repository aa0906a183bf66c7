"""Owns the proof that clearing away what is old costs what is removed, not what is kept: in pages that are touched."""

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from threadline.checkpoints.statements import load_statements

SQL = load_statements("threadline.runs", "expiry.sql")

OLD_RUNS = 20
# Threads of five runs, each with three rows of events; `age` in days. The id says which part a thread is of.
FILL = """
with thread as (
    insert into threads (thread_id)
    select md5(%(part)s || n)::uuid from generate_series(1, %(threads)s) n
    returning thread_id
), head as (
    insert into thread_heads (thread_id, last_seq, trimmed_seq)
    select thread_id, 15, case when %(cleared)s::integer > 0 then 15 else 0 end from thread
), run as (
    insert into runs
        (run_id, thread_id, assistant_id, graph_id, status, start_seq, end_seq, ended_at, created_at, cleared)
    select md5(thread_id::text || n)::uuid, thread_id, thread_id, 'g', 'success', n * 3 - 3, n * 3,
        now() - make_interval(days => %(age)s), now() - make_interval(days => %(age)s, secs => 10 - n), %(cleared)s
    from thread, generate_series(1, %(runs)s) n
    returning run_id, thread_id, end_seq
)
insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
select r.thread_id, r.end_seq - 3 + n, r.end_seq - 3 + n, r.run_id, '[]', convert_to(repeat('x', 200), 'UTF8')
from run r, generate_series(1, 3) n
where %(cleared)s::integer = 0
"""


def fill(connection: Connection, part: str, *, threads: int, runs: int = 5, age: int = 0, cleared: int = 0) -> None:
    values = {"part": part, "threads": threads, "runs": runs, "age": age, "cleared": cleared}
    connection.execute(FILL, values)


def touched(connection: Connection, statement: str, **values: Any) -> int:
    """How many pages the statement touches, in memory or not."""
    explained: Any = connection.execute(
        f"explain (analyze, buffers, format json) {SQL[statement]}".encode(), values
    ).fetchone()
    plan = explained[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def sweep(dsn: str) -> dict[str, int]:
    """Remove what is older than a day, and return the pages that each statement touched for it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        before: datetime = connection.execute("select now() - interval '1 day'").fetchone()[0]  # type: ignore[index]  # there is one
        found = connection.execute(SQL["find_logs"], {"before": before, "batch": 100}).fetchall()
        runs, threads = [run_id for run_id, _ in found], sorted({thread_id for _, thread_id in found})
        assert len(runs) == OLD_RUNS
        return sweep_these(connection, before, runs, threads)


def sweep_these(connection: Connection, before: datetime, runs: list[UUID], threads: list[UUID]) -> dict[str, int]:
    limits = {"before": before, "batch": 100}
    pages = {name: touched(connection, name, **limits) for name in ("find_logs", "find_checkpoints", "find_runs")}
    pages["move_horizon"] = touched(connection, "move_horizon", thread_ids=threads, before=before)
    pages["delete_events"] = touched(connection, "delete_events", thread_ids=threads, batch=1000)
    pages["mark_logs"] = touched(connection, "mark_logs", run_ids=runs)
    pages["mark_checkpoints"] = touched(connection, "mark_checkpoints", run_ids=runs)
    pages["delete_runs"] = touched(connection, "delete_runs", run_ids=runs)
    left = connection.execute("select count(*) from runs where ended_at < %s and cleared = 0", [before]).fetchone()
    assert left == (0,)
    return pages


def test_a_sweep_touches_no_more_pages_with_ten_times_as_much_kept(dsn: str) -> None:
    pages = []
    for kept, part in ((200, "a"), (1800, "b")):
        with psycopg.connect(dsn, autocommit=True) as connection:
            fill(connection, f"kept {part}", threads=kept)
            # Old, and dealt with, but kept: their rows are to stay for longer.
            fill(connection, f"cleared {part}", threads=kept, age=5, cleared=3)
            fill(connection, f"old {part}", threads=OLD_RUNS, runs=1, age=3)
        pages.append(sweep(dsn))
    few, many = pages
    # A quarter is for one more level of the indexes, which a million times as much would not double.
    assert sum(many.values()) <= 1.25 * sum(few.values()), (few, many)
