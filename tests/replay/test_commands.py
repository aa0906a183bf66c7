"""The commands that look back, as people type them: each one in docs/replay.md, and what they say when it cannot be."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import jsonpatch
import pytest

from threadline.tests.laboratory.places import variables as way_to
from threadline.tests.replay.conftest import Past
from threadline.tests.replay.frames import events_of
from threadline.tests.source import ROOT

pytestmark = pytest.mark.slow  # each of them starts a program, or several

PAGE = (ROOT / "docs" / "replay.md").read_text("utf-8")
BLOCKS = [(kind, text) for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)]
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


class Shell:
    """Types commands in a folder of their own, against the test's database."""

    def __init__(self, past: Past, folder: Path) -> None:
        self.past = past
        self.folder = folder
        thread_id, run_id, _ = past.run("steps", stream_mode=["values", "updates"])
        other, _, _ = past.run("steps", input={"log": ["other"]})
        checkpoint = past.history(thread_id)[2]["checkpoint_id"]
        self.names = {
            "THREAD": thread_id,
            "RUN": run_id,
            "OTHER": other,
            "CHECKPOINT": checkpoint,
            "DIR": str(folder / "exported"),
        }

    def run(self, line: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("THREADLINE", "TEST_"))}
        environment = (
            kept | self.names | way_to(self.past.dsn) | {"DATABASE_URL": url_of(way_to(self.past.dsn)["DATABASE_URL"])}
        )
        program = f"{sys.executable} -W error::DeprecationWarning -m threadline.cli"
        return subprocess.run(
            ["bash", "-c", re.sub(r"^threadline", program, line)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=60,
            check=False,
        )

    def says(self, line: str) -> str:
        done = self.run(line)
        assert done.returncode == 0, done.stderr
        return done.stdout


def url_of(dsn: str) -> str:
    from urllib.parse import quote

    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(dsn)
    query = "&".join(f"{name}={quote(str(parts[name]))}" for name in ("host", "port", "options") if name in parts)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?{query}"


@pytest.fixture
def shell(past: Past, tmp_path: Path) -> Shell:
    return Shell(past, tmp_path)


def test_the_guide_has_commands_of_every_kind() -> None:
    assert {line.split()[1] for line in COMMANDS} == {"history", "replay", "diff", "fork", "export"}


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_of_the_guide_does_what_it_says(shell: Shell, line: str) -> None:
    assert shell.says(line).strip()


def test_history_shows_steps_nodes_and_what_changed(shell: Shell) -> None:
    table = shell.says("threadline history $THREAD")
    states = shell.past.history(shell.names["THREAD"])
    rows = table.splitlines()
    assert all(state["checkpoint_id"] in table for state in states)
    last = rows.index(next(row for row in rows if states[-1]["checkpoint_id"] in row))
    assert "second" in rows[last]
    assert '+ /log/2 "second"' in "\n".join(rows[last:])
    lines = [json.loads(line) for line in shell.says("threadline history $THREAD --json").splitlines()]
    values: Any = {}
    for line in lines:
        values = jsonpatch.apply_patch(values, line["patch"])
    assert values == states[-1]["values"]


def test_replay_prints_the_events_that_the_api_plays(shell: Shell) -> None:
    path = f"/threads/{shell.names['THREAD']}/runs/{shell.names['RUN']}/events"
    events = events_of(shell.past.http.get(path).content)
    lines = [line.split("  ", 2) for line in shell.says("threadline replay $RUN --speed max").splitlines()]
    assert [(int(seq), name, json.loads(data)) for seq, name, data in lines] == [(e.id, e.name, e.data) for e in events]


def test_a_fork_made_on_the_command_line_differs_by_its_edits_only(shell: Shell) -> None:
    made = shell.says("threadline fork $THREAD --at $CHECKPOINT --set n=41").strip()
    shell.names["MADE"] = made
    diff = json.loads(shell.says("threadline diff $THREAD@$CHECKPOINT $MADE --json"))
    assert diff["patch"] == [{"op": "replace", "path": "/n", "value": 41}]
    origin = shell.past.http.get(f"/threads/{made}").json()["metadata"]["forked_from"]
    assert (origin["thread_id"], origin["checkpoint_id"]) == (shell.names["THREAD"], shell.names["CHECKPOINT"])
    assert "the values are the same" in shell.says("threadline diff $MADE $MADE")


def test_the_query_of_the_guide_runs_on_an_export(shell: Shell) -> None:
    shell.says("threadline export --out $DIR --format parquet")
    [query] = [text for kind, text in BLOCKS if kind == "sql"]
    with duckdb.connect() as connection:
        rows = connection.execute(query.replace("'steps.parquet'", f"'{shell.names['DIR']}/steps.parquet'")).fetchall()
    assert {row[0]: row[1] for row in rows} == {"first": 2, "second": 2}
    assert all(row[2] >= 0 for row in rows)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("threadline replay 00000000-0000-4000-8000-000000000000", 1, "not found"),
        ("threadline replay $RUN --speed fast", 2, "speed must be max or a factor"),
        ("threadline replay nonsense", 2, "invalid UUID value"),
        ("threadline history 00000000-0000-4000-8000-000000000000", 1, "not found"),
        ("threadline diff $THREAD@x $THREAD", 1, "Checkpoint x of thread"),
        ("threadline diff x $THREAD", 2, "names no checkpoint"),
        ("threadline fork $THREAD --set nowhere=1", 2, "no 'nowhere'"),
        ("threadline fork $THREAD --set nonsense", 2, "write path=value"),
        ("threadline export --out $DIR --since yesterday", 2, "--since must be a date or time"),
        ("threadline export --out /proc/nowhere", 1, "cannot be written"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(shell: Shell, line: str, code: int, said: str) -> None:
    done = shell.run(line)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_an_export_shows_its_progress_where_somebody_looks(shell: Shell) -> None:
    own, theirs = pty.openpty()
    with open(own, "rb", buffering=0) as terminal:
        done = shell.run("threadline export --out $DIR", stderr=theirs)
        os.close(theirs)
        shown = terminal.read(100_000).decode()
    assert done.returncode == 0
    assert re.search(r"events\S* .*?\d+/\d+", shown)
    assert "events.jsonl" in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "threadline replay $RUN --speed max",
        "threadline replay $RUN --speed max --internal",
        "threadline history $THREAD",
        "threadline history $THREAD --json",
        "threadline diff $THREAD@$CHECKPOINT $OTHER",
    ],
)
def test_output_that_nobody_reads_on_is_no_error(shell: Shell, line: str) -> None:
    """As before `head`: the reader is gone before the first line is printed, and a shell sees SIGPIPE's code."""
    done = shell.run(f"{line} | exec true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (141, "")
    first = shell.run(f"{line} | head -n 1")
    assert (first.stderr, first.stdout) == ("", f"{shell.says(line).splitlines()[0]}\n")
