"""The demo keeps the promises that it makes, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from threadline.commands.demo.client import read_events
from threadline.commands.demo.processes import descendants, living
from threadline.tests.checkpoints.embedded.owners import eventually
from threadline.tests.commands.conftest import Launch
from threadline.tests.commands.programs import environment, run
from threadline.tests.graphs.assistant.papers import pdf
from threadline.tests.laboratory.places import variables as way_to
from threadline.tests.source import ROOT

MANUAL = pdf(
    ["Nobody enters the hall alone.", "Helmets hang at the north door."],
    ["The bearings of turbines are oiled every Monday."],
    ["Used barrels go to the yard."],
    title="Turbines",
)
INSPECTION = """<!doctype html><title>Inspection</title><nav><a href="/">All about turbines</a></nav>
<main><h1>Inspection</h1><p>Each hall is inspected by two people.</p>
<h2>Blades</h2><p>The blades of turbines are searched for cracks in March.</p>
<h2>Cranes</h2><p>Cranes are inspected by their vendor.</p></main>"""
WORDS = ("planner", "tool", "responder", "interrupt", "kill", "resume", "resumed", "branch")


@pytest.fixture(autouse=True)
def _no_folder_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    temporary = folder / "temporary"  # of its own: other demos may be played on this machine
    temporary.mkdir(mode=0o711)
    monkeypatch.setenv("TMPDIR", str(temporary))
    yield
    assert list(temporary.glob("threadline-demo-*")) == []


def test_the_demo_plays_the_life_of_a_run_to_its_end() -> None:
    played = run("demo")
    assert played.returncode == 0, played.stdout + played.stderr
    for word in WORDS:
        assert word in played.stdout
    assert "docs/decisions/" in played.stdout, "the answer cites the project's own documents"
    assert "All as promised" in played.stdout


@pytest.mark.slow  # another whole demo: seven seconds
def test_the_demo_with_a_server_of_ones_own_leaves_its_databases_as_they_were(
    server_dsn: str, dsn: str, folder: Path
) -> None:
    (folder / "guide.md").write_text("# Turbines\n\nTurbines are oiled every Monday, and never on a Sunday.\n")
    played = run("demo", "--docs", "guide.md", cwd=folder, variables=way_to(dsn))
    assert played.returncode == 0, played.stdout + played.stderr
    assert "What do the documents say about Turbines?" in played.stdout
    assert "guide.md, passage 1" in played.stdout
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select from documents").fetchall() == []
        assert connection.execute("select from threads").fetchall() == []
    with psycopg.connect(server_dsn) as connection:
        row = connection.execute("select count(*) from pg_database where datname like 'threadline_demo%'").fetchone()
    assert row == (0,)


@pytest.mark.slow  # another whole demo: ten seconds
def test_the_demo_cites_the_page_of_a_pdf_and_the_heading_of_a_web_page(folder: Path) -> None:
    docs = folder / "docs"
    docs.mkdir()
    (docs / "turbines.pdf").write_bytes(MANUAL)
    (docs / "inspection.html").write_text(INSPECTION)
    made = Path(sys.prefix)
    # An environment that stands is taken as it is: a test does not install.
    command = ["make", "-o", str(made / "installed"), f"VENV={made}", f"DOCS={docs}", "demo"]
    played = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=150)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "What do the documents say about Turbines?" in played.stdout
    told = " ".join(played.stdout.split())
    answer = told[told.index("12 * 31 = 372. ") : told.index(" 2. An approval")]
    cited = {text: int(number) for text, number in re.findall(r"(The [^\[]+?) \[(\d)\]", answer)}
    places = {int(number): place for number, place in re.findall(r"\[(\d)\] ((?:Turb|Insp)\S.*?passage \d)", answer)}
    assert {text: places[number] for text, number in cited.items()} == {
        "The bearings of turbines are oiled every Monday": f"Turbines: {docs}/turbines.pdf, page 2, passage 2",
        "The blades of turbines are searched for cracks in March": (
            f"Inspection \u203a Blades: {docs}/inspection.html, passage 2"
        ),
    }


def test_a_demo_without_documents_says_so_and_fails(folder: Path) -> None:
    played = run("demo", "--docs", str(folder / "none"))
    assert played.returncode == 1
    assert (
        f"There is no document that can be read (.htm, .html, .markdown, .md, .pdf, .txt, .xhtml) at {folder}/none."
        in played.stderr
    )


@pytest.mark.slow  # most of another demo
def test_a_demo_that_finds_a_promise_broken_fails_and_says_which(folder: Path) -> None:
    (folder / "empty.md").write_text("\n")
    played = run("demo", "--docs", "empty.md", cwd=folder)
    assert played.returncode == 1
    assert "threadline demo: Expected that the answer cites its sources, but saw " in played.stderr
    assert "End of the server's log:" in played.stderr


@pytest.mark.slow  # most of another demo
def test_a_demo_that_is_stopped_takes_its_server_with_it(start: Launch) -> None:
    program = start("demo")
    eventually(lambda: "planner" in program.output, within=60)
    started = descendants(program.pid)
    assert len(started) > 5
    os.kill(program.pid, signal.SIGTERM)
    assert program.await_end() == 1
    eventually(lambda: not living(started))


def test_events_are_read_whole_from_whatever_pieces_arrive() -> None:
    event = 'event: custom\r\ndata: {"a":"\u2028 b: c"}\r\nid: 7\r\n\r\n'
    text = f": heartbeat\r\n\r\nid: 0\r\n\r\n{event}event: cut\r\nda".encode()
    pieces = (text[place : place + 1] for place in range(len(text)))
    assert list(read_events(pieces)) == [(7, "custom", {"a": "\u2028 b: c"})]
