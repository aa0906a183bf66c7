"""Owns the checks of the search: which passage comes first, and that no query can break it."""

from pathlib import Path

import pytest

from threadline.checkpoints.pool import Pool
from threadline.graphs.assistant import documents
from threadline.graphs.assistant.documents import DocumentIndex, NoDocuments
from threadline.graphs.assistant.ingestion import ingest_path


async def test_the_passage_with_every_word_is_found_in_any_form_of_the_words(index: DocumentIndex) -> None:
    (passage,) = await index.search("deployed on fridays")
    assert Path(passage["path"]).name == "handbook.md"
    assert (passage["title"], passage["heading"], passage["position"]) == (
        "Handbook",
        "Handbook \u203a Deploying",
        2,
    )
    assert "every Friday at noon" in passage["content"]


async def test_any_word_is_enough_where_no_passage_has_all(index: DocumentIndex) -> None:
    found = await index.search("rollback walnuts make unicorns")
    assert [passage["heading"] for passage in found] == ["Handbook \u203a Rolling back", "snacks"]


async def test_a_passage_with_more_of_the_words_comes_before_one_that_repeats_a_word(
    pool: Pool, tmp_path: Path
) -> None:
    (tmp_path / "repeats.txt").write_text("walnut " * 50)
    (tmp_path / "covers.txt").write_text("a walnut in the kitchen, and much else that is said here")
    await ingest_path(pool, tmp_path)
    found = await documents.connect(pool).search("walnut kitchen unicorn")
    assert [passage["title"] for passage in found] == ["covers", "repeats"]


async def test_a_word_in_the_heading_counts_more_than_one_in_the_text(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Other\n\nThe lease is mentioned here, once.\n")
    (tmp_path / "b.md").write_text("# Lease\n\nWho holds it may write, for three seconds.\n")
    await ingest_path(pool, tmp_path)
    found = await documents.connect(pool).search("lease")
    assert [passage["title"] for passage in found] == ["Lease", "Other"]


async def test_quotes_and_minus_mean_what_they_mean_in_web_searches(index: DocumentIndex) -> None:
    assert [passage["position"] for passage in await index.search('"previous release"')] == [3]
    assert [passage["position"] for passage in await index.search("release -previous")] == [2]


async def test_no_more_passages_come_than_asked_for(index: DocumentIndex) -> None:
    assert len(await index.search("release or coffee", limit=2)) == 2


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "the",
        "'",
        "\\",
        "a & b | !c <-> :*",
        "\0",
        "\ud800",
        "x" * 5000,
        "\U0001f600" * 500,
        "--",
        "''; drop table documents",
    ],
)
async def test_no_query_breaks_the_search(index: DocumentIndex, query: str) -> None:
    await index.search(query)
    assert await index.search("friday")


async def test_both_searches_use_the_full_text_index(pool: Pool, tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.txt").write_text(f"filler{number} text about nothing")
    (tmp_path / "needle.txt").write_text("needle")
    await ingest_path(pool, tmp_path)
    async with pool.connection() as connection:
        await connection.execute("analyze document_chunks")
        await connection.execute("set enable_seqscan = off")
        for name in ("search_every_word", "search_any_word"):
            statement = "explain " + documents.STATEMENTS[name]
            cursor = await connection.execute(statement, {"query": "needle", "limit": 5})
            plan = "\n".join(str(row[0]) for row in await cursor.fetchall())
            assert "document_chunks_search" in plan, name


def test_without_an_index_the_search_says_what_is_missing() -> None:
    with pytest.raises(NoDocuments, match="connected no document index"):
        documents.connected_index()


async def test_a_disconnected_index_is_forgotten(index: DocumentIndex) -> None:
    assert documents.connected_index() is index
    documents.disconnect()
    with pytest.raises(NoDocuments):
        documents.connected_index()
