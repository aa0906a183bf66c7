"""Owns the checks of ingestion: what is read, what is left out and why, and that it can be repeated and doubled."""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from threadline.checkpoints.pool import Pool
from threadline.graphs.assistant.files import MAX_BYTES
from threadline.graphs.assistant.ingestion import IngestedDocument, IngestReport, Outcome, ingest_path


def outcomes(report: IngestReport, root: Path) -> dict[str, str]:
    return {os.path.relpath(document.path, root): document.outcome.value for document in report.documents}


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


async def stored(pool: Pool) -> list[tuple[str, str, int, str, str]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select path, title, position, heading, content from documents join document_chunks using (document_id)"
            " order by path, position"
        )
        return [(str(row[0]), str(row[1]), int(row[2]), str(row[3]), str(row[4])) for row in await cursor.fetchall()]


async def test_markdown_and_text_become_numbered_passages_with_their_headings(pool: Pool, handbook: Path) -> None:
    report = await ingest_path(pool, handbook)
    assert [(document.outcome, document.chunks) for document in report.documents] == [("added", 3), ("added", 1)]
    handbook_path, snacks_path = (handbook / "handbook.md").as_posix(), (handbook / "snacks.txt").as_posix()
    rows = await stored(pool)
    assert [row[:4] for row in rows] == [
        (handbook_path, "Handbook", 1, "Handbook"),
        (handbook_path, "Handbook", 2, "Handbook \u203a Deploying"),
        (handbook_path, "Handbook", 3, "Handbook \u203a Rolling back"),
        (snacks_path, "snacks", 1, "snacks"),
    ]
    assert rows[3][4].startswith("The kitchen has apples")


async def test_only_what_changed_is_written_again(pool: Pool, handbook: Path) -> None:
    await ingest_path(pool, handbook)
    assert outcomes(await ingest_path(pool, handbook), handbook) == {
        "handbook.md": "unchanged",
        "snacks.txt": "unchanged",
    }
    (handbook / "handbook.md").write_text("# Handbook\n\nEverything is different now.\n")
    (handbook / "snacks.txt").unlink()
    (handbook / "new.markdown").write_text("new\n")
    assert outcomes(await ingest_path(pool, handbook), handbook) == {
        "handbook.md": "updated",
        "new.markdown": "added",
        "snacks.txt": "removed",
    }
    assert [(Path(row[0]).name, row[4]) for row in await stored(pool)] == [
        ("handbook.md", "Everything is different now."),
        ("new.markdown", "new"),
    ]


async def test_what_cannot_be_a_document_is_skipped_with_its_reason(
    pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "secret.md").write_text("secret")
    (tmp_path / ".draft.md").write_text("draft")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "binary.txt").write_bytes(bytes(range(128)) * 10)
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "dangling.md").symlink_to(tmp_path / "nowhere.md")
    with (tmp_path / "large.md").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (tmp_path / os.fsdecode(b"bad-\xff.md")).write_text("text")
    (tmp_path / "whole.md").write_text("\ufeff# Whole\r\n\r\nwith a \0 NUL\r\n" + "more words " * 20)
    with caplog.at_level(logging.WARNING, logger="threadline.documents"):
        report = await ingest_path(pool, tmp_path)
    reasons = {Path(document.path).name: document.reason for document in report.documents if document.reason}
    assert reasons == {
        "binary.txt": "it is binary",
        "latin.txt": "it is not UTF-8 text",
        "photo.png": "files .png are not read",
        "pipe.md": "it is no regular file",
        "dangling.md": "it cannot be read: No such file or directory",
        "large.md": "it is larger than 20 MB",
        "bad-\\udcff.md": "its name is not UTF-8",
    }
    assert [record.message for record in caplog.records] == ["document.skipped"] * 6
    assert report.count(Outcome.SKIPPED) == 6
    assert report.count(Outcome.PASSED_OVER) == 1
    assert report.count(Outcome.ADDED) == 1
    ((_, title, _, _, content),) = await stored(pool)
    assert title == "Whole"
    assert content.startswith("with a  NUL\nmore words")


async def test_a_document_that_cannot_be_read_for_now_is_kept(pool: Pool, handbook: Path) -> None:
    await ingest_path(pool, handbook)
    (handbook / "snacks.txt").write_bytes(b"\xff\xfd")
    assert outcomes(await ingest_path(pool, handbook), handbook)["snacks.txt"] == "skipped"
    assert "snacks" in {row[1] for row in await stored(pool)}


async def test_paths_are_kept_as_given_and_only_what_lies_below_is_removed(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "docs/a.md", "docs/deep/b.md", "docs2/c.md", "d.md")
    await ingest_path(pool, Path("docs"))
    await ingest_path(pool, Path("./docs2/"))
    await ingest_path(pool, Path("d.md"))
    await ingest_path(pool, tmp_path / "docs2")
    absolute = (tmp_path / "docs2" / "c.md").as_posix()
    assert [row[0] for row in await stored(pool)] == [absolute, "d.md", "docs/a.md", "docs/deep/b.md", "docs2/c.md"]
    remove(tmp_path, "docs/a.md", "docs2/c.md")
    assert outcomes(await ingest_path(pool, Path("docs")), Path()) == {
        "docs/deep/b.md": "unchanged",
        "docs/a.md": "removed",
    }
    report = await ingest_path(pool, Path())
    assert {document.path: document.outcome.value for document in report.documents} == {
        "d.md": "unchanged",
        "docs/deep/b.md": "unchanged",
        "docs2/c.md": "removed",
    }
    assert [row[0] for row in await stored(pool)] == [absolute, "d.md", "docs/deep/b.md"]


async def test_a_folder_that_is_not_there_removes_nothing(pool: Pool, handbook: Path) -> None:
    await ingest_path(pool, handbook)
    with pytest.raises(FileNotFoundError, match="nothing was ingested and nothing removed"):
        await ingest_path(pool, handbook / "absent")
    remove(handbook, "handbook.md", "snacks.txt")
    os.rmdir(handbook)
    with pytest.raises(FileNotFoundError):
        await ingest_path(pool, handbook)
    assert len(await stored(pool)) == 4


async def test_two_ingestions_at_once_leave_each_document_once(pool: Pool, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.md").write_text(f"# Title {number}\n\nfirst\n\n## Second\n\nsecond\n")
    reports = await asyncio.gather(*(ingest_path(pool, tmp_path) for _ in range(4)))
    assert sum(report.count(Outcome.ADDED) for report in reports) == 30
    assert len(await stored(pool)) == 60
    for number in range(30):
        (tmp_path / f"{number}.md").write_text(f"# Title {number}\n\nchanged\n") if number % 2 else (
            tmp_path / f"{number}.md"
        ).unlink()
    reports = await asyncio.gather(*(ingest_path(pool, tmp_path) for _ in range(4)))
    assert sum(report.count(Outcome.UPDATED) for report in reports) == 15
    assert sum(report.count(Outcome.REMOVED) for report in reports) == 15
    assert [row[2:] for row in await stored(pool)] == [
        (1, f"Title {number}", "changed") for number in sorted(range(1, 30, 2), key=str)
    ]


async def test_each_document_is_reported_as_it_is_done(pool: Pool, handbook: Path) -> None:
    seen: list[IngestedDocument] = []
    report = await ingest_path(pool, handbook, on_document=seen.append)
    assert tuple(seen) == report.documents
