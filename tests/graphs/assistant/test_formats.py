"""Owns the checks of the formats: PDF pages, HTML headings, languages, and files that are broken on purpose."""

import asyncio
import os
import resource
from datetime import timedelta
from pathlib import Path

import pytest

from threadline.checkpoints.pool import Pool
from threadline.graphs.assistant import documents
from threadline.graphs.assistant.hypertext import split_html
from threadline.graphs.assistant.ingestion import IngestReport, Outcome, ingest_path
from threadline.graphs.assistant.passages import UnreadableDocument
from threadline.graphs.assistant.reading import MEMORY, Format, read_document
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant import papers
from threadline.tests.graphs.assistant.conversations import answer_of, ask

REPORT = papers.pdf(
    ["Travel policy", "Everybody travels by train."],
    ["Hotels are paid up to 120 euros a night. A higher price needs the appro-", "val of the finance team."],
    title="Travel rules",
)
PAGE = """<!doctype html><html><head><title>Backups | Team</title><style>p { color: red }</style></head>
<body><nav><a href="/">Home of the menu</a></nav><main><h1>Backups</h1><p>We keep <b>every</b> backup.</p>
<h2>Restore &amp; check</h2><p>A restore takes forty minutes.<br>It is tried each month.</p>
<ul><li>Call the <i>person</i> on call<li>Stop the writers</ul>
<table><tr><th>Kind</th><th>Kept</th></tr><tr><td>daily</td><td>30 days</td></tr></table>
<pre>restore --latest
  --check</pre><script>alert("never seen")</script></main><footer>Imprint</footer></body></html>"""


def reasons(report: IngestReport) -> dict[str, str | None]:
    return {
        Path(document.path).name: document.reason
        for document in report.documents
        if document.outcome is Outcome.SKIPPED
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a PDF, an HTML page and two languages."""
    (tmp_path / "travel.pdf").write_bytes(REPORT)
    (tmp_path / "backups.html").write_text(PAGE)
    (tmp_path / "lieferung.txt").write_text(
        "Wir liefern jeden Freitag um zw\u00f6lf Uhr aus. Die alte Version l\u00e4uft dabei weiter, und die "
        "Auslieferungen werden vorher gepr\u00fcft."
    )
    return tmp_path


async def languages(pool: Pool) -> dict[str, str]:
    async with pool.connection() as connection:
        cursor = await connection.execute("select path, language from documents")
        return {Path(str(path)).name: str(language) for path, language in await cursor.fetchall()}


async def test_an_answer_from_a_pdf_names_its_page(pool: Pool, folder: Path, assistant: Graph) -> None:
    await ingest_path(pool, folder)
    documents.connect(pool)
    values = await ask(assistant, "How much is paid for hotels?")
    (citation,) = values["citations"]
    path = (folder / "travel.pdf").as_posix()
    assert (citation["path"], citation["title"], citation["page"], citation["position"]) == (path, "Travel rules", 2, 2)
    assert "needs the approval of the finance team" in citation["content"]
    assert answer_of(values).endswith(f"Sources:\n[{citation['number']}] Travel rules: {path}, page 2, passage 2")


async def test_an_answer_from_a_web_page_names_its_heading(pool: Pool, folder: Path, assistant: Graph) -> None:
    await ingest_path(pool, folder)
    documents.connect(pool)
    values = await ask(assistant, "How long does a restore take?")
    citation = values["citations"][0]
    assert citation["heading"] == "Backups | Team \u203a Backups \u203a Restore & check"
    assert answer_of(values).startswith("A restore takes forty minutes [1].")


def test_a_page_is_read_as_a_person_reads_it() -> None:
    split = split_html(PAGE, "backups")
    assert split.title == "Backups | Team"
    first, second = split.pieces
    assert (first.heading, first.content) == ("Backups | Team \u203a Backups", "We keep every backup.")
    assert second.content.split("\n") == [
        *("A restore takes forty minutes.", "", "It is tried each month.", ""),
        *("- Call the person on call", "- Stop the writers", "", "| Kind | Kept |", "| daily | 30 days |", ""),
        *("```", "restore --latest", "  --check", "```"),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "<", "<p", "</p></p>", "<html>", "<table><td>a<p>b", "\0<b>", "<h1>" * 1000, "<ul><li>" * 1000 + "x"],
)
def test_no_broken_page_breaks_the_reader(text: str) -> None:
    assert split_html(text, "page").title == "page"


async def test_a_page_that_takes_for_ever_is_given_up() -> None:
    page = b"<div>" * 400_000
    with pytest.raises(UnreadableDocument, match=r"took more than 0\.5 seconds"):
        await read_document(Format.HTML, page, "page", deadline=timedelta(seconds=0.5))


async def test_each_document_is_searched_in_its_own_language(pool: Pool, folder: Path) -> None:
    (folder / "codes.txt").write_text("zx81 kq77")
    await ingest_path(pool, folder)
    assert await languages(pool) == {
        "backups.html": "english",
        "codes.txt": "simple",
        "lieferung.txt": "german",
        "travel.pdf": "english",
    }
    index = documents.connect(pool)
    for query, name in (
        ("Auslieferung", "lieferung.txt"),
        ("pr\u00fcfen Freitage", "lieferung.txt"),
        ("restoring", "backups.html"),
        ("traveling", "travel.pdf"),
        ("kq77", "codes.txt"),
    ):
        assert {Path(passage["path"]).name for passage in await index.search(query)} == {name}, query


async def test_a_document_that_changes_its_language_is_indexed_anew(pool: Pool, folder: Path) -> None:
    await ingest_path(pool, folder)
    (folder / "lieferung.txt").write_text("We deliver every Friday at noon, and the old version goes on with its work.")
    await ingest_path(pool, folder)
    assert (await languages(pool))["lieferung.txt"] == "english"
    assert len(await documents.connect(pool).search("delivering")) == 1


async def test_broken_files_are_skipped_with_their_reasons_and_the_others_go_on(pool: Pool, folder: Path) -> None:
    (folder / "cut.pdf").write_bytes(REPORT[: len(REPORT) // 3])
    (folder / "empty.pdf").write_bytes(b"")
    (folder / "noise.pdf").write_bytes(b"%PDF-1.4\n" + os.urandom(5000))
    (folder / "scanned.pdf").write_bytes(papers.pdf([], []))
    (folder / "binary.html").write_bytes(bytes(range(128)) * 10)
    (folder / "foreign.html").write_bytes(b'<meta charset="klingon"><p>text')
    (folder / "broken.html").write_bytes(b"<p>caf\xe9")
    with (folder / "huge.pdf").open("wb") as file:
        file.truncate(1024**3)
    found = reasons(await ingest_path(pool, folder))
    assert found.pop("cut.pdf", "")
    assert str(found.pop("noise.pdf")).startswith("it ")
    assert found == {
        "empty.pdf": "it is no intact PDF: Cannot read an empty file",
        "scanned.pdf": "it holds no text; scanned pages would have to be recognised first",
        "binary.html": "it is binary",
        "foreign.html": "it is not KLINGON text",
        "broken.html": "it is not UTF-8 text",
        "huge.pdf": "it is larger than 100 MB",
    }
    assert set(await languages(pool)) == {"travel.pdf", "backups.html", "lieferung.txt"}


async def test_text_is_read_in_the_encoding_that_it_declares(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "latin.html").write_bytes(
        "<meta charset='iso-8859-1'><title>Caf\u00e9</title><p>cr\u00e8me".encode("latin-1")
    )
    (tmp_path / "wide.txt").write_bytes("na\u00efve words".encode("utf-16"))
    assert (await ingest_path(pool, tmp_path)).count(Outcome.ADDED) == 2
    index = documents.connect(pool)
    assert [passage["title"] for passage in await index.search("cr\u00e8me")] == ["Caf\u00e9"]
    assert [passage["title"] for passage in await index.search("na\u00efve")] == ["wide"]


async def test_a_pdf_that_would_fill_the_memory_is_given_up() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableDocument, match=r"^it holds no text|memory"):
        await read_document(Format.PDF, papers.endless_pdf(), "bomb")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MEMORY / 1024


async def test_an_abandoned_reading_leaves_no_process_behind() -> None:
    source, sink = os.pipe()
    with os.fdopen(sink, "wb", buffering=0) as writer:
        with os.fdopen(source, "rb") as stream:
            reading = asyncio.create_task(read_document(Format.HTML, stream, "endless"))
            # More than a pipe holds: somebody has read from it once it is all written.
            await asyncio.to_thread(writer.write, b"x" * 2**20)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        with pytest.raises(BrokenPipeError):
            writer.write(b"x")


async def test_the_number_of_files_is_told_before_the_first_document(pool: Pool, folder: Path) -> None:
    told: list[object] = []
    await ingest_path(pool, folder, on_files=told.append, on_document=lambda document: told.append(document.outcome))
    assert told == [3, Outcome.ADDED, Outcome.ADDED, Outcome.ADDED]
