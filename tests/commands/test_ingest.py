"""`threadline ingest` as a person sees it: a line for each file, reasons for what is left out, and a sum."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from threadline.commands.demo.documents import choose_documents
from threadline.tests.commands.programs import PROGRAM, environment, run
from threadline.tests.graphs.assistant.papers import pdf
from threadline.tests.laboratory.places import variables as way_to

PAGE = "<title>Backups</title><h1>Backups</h1><p>We keep every backup of the last thirty days.</p>"


@pytest.mark.slow  # several programs, one after the other
def test_ingest_says_what_became_of_each_file(folder: Path, dsn: str) -> None:
    docs = folder / "docs"
    docs.mkdir()
    (docs / "travel.pdf").write_bytes(pdf(["Everybody travels by train."], title="Travel"))
    (docs / "backups.html").write_text(PAGE)
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing more")
    (docs / "photo.png").write_bytes(b"\x89PNG")
    done = run("ingest", "docs", cwd=folder, variables=way_to(dsn))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "added       docs/backups.html (1 passages)"
    assert lines[1].startswith("skipped     docs/broken.pdf: it is no intact PDF")
    assert lines[2] == "passed over docs/photo.png: files .png are not read"
    assert lines[3] == "added       docs/travel.pdf (1 passages)"
    assert lines[4] == "2 added, 1 skipped, 1 passed over"
    again = run("ingest", "docs", cwd=folder, variables=way_to(dsn))
    assert again.stdout.splitlines()[-1] == "2 unchanged, 1 skipped, 1 passed over"


@pytest.mark.slow  # several programs, one after the other
def test_ingest_shows_its_progress_where_somebody_looks(folder: Path, dsn: str) -> None:
    for number in range(3):
        (folder / f"{number}.md").write_text(f"# Page {number}\n\nIt says {number}.\n")
    own, theirs = pty.openpty()
    with open(own, "rb", buffering=0) as terminal:
        environ = environment(**way_to(dsn), TERM="xterm")
        command = [str(PROGRAM), "ingest", str(folder)]
        done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=theirs, timeout=60, text=True)
        os.close(theirs)
        shown = terminal.read(100_000).decode()
    assert done.stdout.splitlines()[-1] == "3 added"
    assert "100%" in shown


def test_ingest_of_nothing_readable_says_what_can_be_read(folder: Path, dsn: str) -> None:
    (folder / "photo.png").write_bytes(b"\x89PNG")
    done = run("ingest", str(folder / "photo.png"), variables=way_to(dsn))
    assert done.returncode == 1
    assert "There is no file that can be read (.htm, .html, .markdown, .md, .pdf, .txt, .xhtml)" in done.stderr


def test_the_demo_asks_about_the_largest_document_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4" + b"x" * 5000)
    (tmp_path / "backups.html").write_text(PAGE)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG" * 5000)
    assert choose_documents(tmp_path).question == "What do the documents say about Backups?"
