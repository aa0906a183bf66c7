"""Owns the checks of what langgraph.json says of storage, and that the service it names is asked for vectors."""

import json
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from threadline.checkpoints.item_vectors import prepare_vectors
from threadline.checkpoints.pool import Database, Pool
from threadline.commands.storage import read_all
from threadline.graphs.configuration import load_configuration
from threadline.graphs.errors import ConfigurationError
from threadline.runs.item_store import ItemStore
from threadline.runs.model import Ttl, TtlStrategy
from threadline.runs.retention import ThreadLifetimes
from threadline.settings import ModelSettings
from threadline.tests.api.store_world import skip_without_pgvector, write_store_project

ASKED: list[Any] = []


class Vectors(BaseHTTPRequestHandler):
    """Answers like the service: a vector for each text, by its length."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        ASKED.append((self.path, self.headers["authorization"], asked["model"]))
        data = [
            {"object": "embedding", "index": n, "embedding": [float(len(text)), 1.0]}
            for n, text in enumerate(asked["input"])
        ]
        body = json.dumps(
            {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vectors)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def read(folder: Path, model: ModelSettings | None = None, **keys: Any) -> Any:
    return read_all(load_configuration(write_store_project(folder, **keys)), model or ModelSettings())


def test_a_file_that_says_nothing_keeps_everything(tmp_path: Path) -> None:
    lifetimes, items = read(tmp_path)
    assert lifetimes == ThreadLifetimes()
    assert (items.index, items.default_ttl, items.refresh_on_read) == (None, None, True)


def test_times_are_read_in_minutes(tmp_path: Path) -> None:
    lifetimes, items = read(
        tmp_path,
        store={"ttl": {"default_ttl": 7, "refresh_on_read": False, "sweep_interval_minutes": 0.5}},
        checkpointer={
            "ttl": {"strategy": "keep_latest", "default_ttl": 43200, "sweep_interval_minutes": 10, "sweep_limit": 50}
        },
    )
    assert lifetimes == ThreadLifetimes(Ttl(43200, TtlStrategy.KEEP_LATEST), timedelta(minutes=10), 50)
    assert (items.default_ttl, items.refresh_on_read, items.sweep_interval) == (7, False, timedelta(seconds=30))


INDEX = {"dims": 4, "embed": "./store_embed.py:embed"}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"store": 5}, "store: must be an object"),
        ({"store": {"ttl": {"default_ttl": 0}}}, "store.ttl.default_ttl: must be a number above zero"),
        ({"store": {"ttl": {"default_ttl": "1"}}}, "store.ttl.default_ttl: must be a number above zero"),
        ({"store": {"index": INDEX | {"dims": 0}}}, "store.index.dims: must be how many numbers"),
        ({"store": {"index": INDEX | {"dims": 4001}}}, "store.index.dims: must be how many numbers"),
        ({"store": {"index": {"dims": 4}}}, "store.index.embed: must be"),
        ({"store": {"index": INDEX | {"fields": "text"}}}, "store.index.fields: must be a list of texts"),
        ({"store": {"index": INDEX | {"embed": "./no.py:embed"}}}, "store.index.embed: no.py: the file does not exist"),
        ({"store": {"index": INDEX | {"embed": "./store_embed.py:no"}}}, "it has no variable 'no'"),
        ({"store": {"index": INDEX | {"embed": "./store_embed.py:not_a_function"}}}, "is a int, not a function"),
        ({"store": {"index": INDEX | {"embed": "openai:m"}}}, "store.index.embed: openai:m needs OPENAI_API_KEY"),
        ({"store": {"index": INDEX | {"embed": "nobody:m"}}}, "store.index.embed: "),
        ({"checkpointer": {"ttl": {"strategy": "x"}}}, "checkpointer.ttl.strategy: must be one of delete, keep_latest"),
        ({"checkpointer": {"ttl": {"default_ttl": -1}}}, "checkpointer.ttl.default_ttl: must be a number above zero"),
        ({"checkpointer": {"ttl": {"sweep_limit": 0}}}, "checkpointer.ttl.sweep_limit: must be a whole number"),
    ],
)
def test_what_means_nothing_is_refused_by_its_key(tmp_path: Path, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, **keys)
    assert told in str(refused.value)


def test_none_of_these_keys_is_there_in_vain(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "store": {"index": INDEX | {"fields": ["$"]}, "ttl": {"default_ttl": 1, "refresh_on_read": True}},
        "checkpointer": {"ttl": {"strategy": "delete", "default_ttl": 1, "sweep_limit": 5}},
    }
    assert load_configuration(write_store_project(tmp_path, **keys)).notices == ()


async def test_a_service_is_asked_for_vectors(tmp_path: Path, database: Database, pool: Pool, service: str) -> None:
    skip_without_pgvector(database.conninfo)
    model = ModelSettings(openai_api_key=SecretStr("key-of-the-test"), openai_base_url=service)
    _, items = read(tmp_path, model, store={"index": {"dims": 2, "embed": "openai:small"}})
    assert items.index is not None
    for _ in range(2):  # the second process finds the table there
        await prepare_vectors(database, items.index)
    store = ItemStore(pool, items)
    await store.aput(("a",), "k", {"text": "sea"})
    [found] = await store.asearch(("a",), query="sea")
    assert found.key == "k"
    assert found.score == pytest.approx(1.0, abs=0.1)
    assert {asked[:2] for asked in ASKED} == {("/v1/embeddings", "Bearer key-of-the-test")}
    assert {asked[2] for asked in ASKED} == {"small"}
    await store.close()
