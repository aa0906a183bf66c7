"""The store through the official SDK: items kept, filtered, found by meaning, shared with graphs, gone in time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx
import psycopg
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import BadRequestError, InternalServerError, UnprocessableEntityError

from threadline.checkpoints.migrate import MigrationError
from threadline.tests.api.guarded_world import new_database
from threadline.tests.api.store_world import make_store_app, serve_store, skip_without_pgvector, write_store_project
from threadline.tests.laboratory.locks import until

INDEX = {"dims": 4, "embed": "./store_embed.py:embed", "fields": ["text", "tags[*]"]}


@pytest.fixture(scope="module")
def database(server_dsn: str, template_database: str) -> Iterator[str]:
    skip_without_pgvector(server_dsn)
    with new_database(server_dsn, template_database) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def address(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    store = {"index": INDEX, "ttl": {"refresh_on_read": True, "sweep_interval_minutes": 0.005}}
    with serve_store(database, write_store_project(folder, store=store)) as url:
        yield url


@pytest.fixture
async def client(address: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=address, api_key=None) as client:
        yield client


@pytest.fixture
def place() -> str:
    return uuid4().hex


def keys(found: Any) -> list[str]:
    return [item["key"] for item in found["items"]]


async def test_an_item_is_put_read_replaced_and_deleted(sdk: LangGraphClient, place: str) -> None:
    await sdk.store.put_item([place, "notes"], "first", {"text": "hello", "n": [1, None, {"a": 2**62}]})
    item = cast("dict[str, Any]", await sdk.store.get_item([place, "notes"], "first"))
    assert item["value"] == {"text": "hello", "n": [1, None, {"a": 2**62}]}
    assert item["namespace"] == [place, "notes"]
    await sdk.store.put_item([place, "notes"], "first", {"text": "changed"})
    again = cast("dict[str, Any]", await sdk.store.get_item([place, "notes"], "first"))
    assert (again["value"], again["created_at"]) == ({"text": "changed"}, item["created_at"])
    await sdk.store.delete_item([place, "notes"], "first")
    assert await sdk.store.get_item([place, "notes"], "first") is None
    await sdk.store.delete_item([place, "notes"], "first")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"n": 5}, {"five"}),
        ({"n": {"$eq": 5}}, {"five"}),
        ({"n": {"$ne": 5}}, {"ten", "word", "nothing", "plain"}),
        ({"n": {"$gt": 5}}, {"ten"}),
        ({"n": {"$gte": 5}}, {"five", "ten"}),
        ({"n": {"$lt": 10, "$gt": 1}}, {"five"}),
        ({"n": {"$gte": "a"}}, {"word"}),
        ({"n": {"a": 1}}, {"plain"}),
        ({"n": {}}, set()),
        ({"n": None}, set()),
    ],
)
async def test_items_are_compared_by_their_fields(
    sdk: LangGraphClient, place: str, asked: dict[str, Any], found: set[str]
) -> None:
    values: dict[str, Any] = {"five": 5, "ten": 10, "word": "many", "plain": {"a": 1}}
    for key, value in values.items():
        await sdk.store.put_item([place], key, {"n": value})
    await sdk.store.put_item([place], "nothing", {})
    assert set(keys(await sdk.store.search_items([place], filter=asked))) == found


async def test_items_are_listed_newest_first_and_paged(sdk: LangGraphClient, place: str) -> None:
    for number in range(3):
        await sdk.store.put_item([place, str(number)], "k", {"n": number})
    found = cast("dict[str, Any]", await sdk.store.search_items([place], limit=2))
    assert [item["value"]["n"] for item in found["items"]] == [2, 1]
    assert [item["score"] for item in found["items"]] == [None, None]
    rest = cast("dict[str, Any]", await sdk.store.search_items([place], limit=2, offset=2))
    assert [item["value"]["n"] for item in rest["items"]] == [0]


async def test_namespaces_are_listed_by_their_labels(sdk: LangGraphClient, place: str) -> None:
    for path in (["a"], ["a", "x"], ["b", "x"]):
        await sdk.store.put_item([place, *path], "k", {})

    async def listed(**asked: Any) -> Any:
        return cast("dict[str, Any]", await sdk.store.list_namespaces(**asked))["namespaces"]

    assert await listed(prefix=[place]) == [[place, "a"], [place, "a", "x"], [place, "b", "x"]]
    assert await listed(prefix=[place], max_depth=2) == [[place, "a"], [place, "b"]]
    assert await listed(prefix=[place], suffix=["x"]) == [[place, "a", "x"], [place, "b", "x"]]
    assert await listed(prefix=[place, "*", "x"]) == [[place, "a", "x"], [place, "b", "x"]]
    assert await listed(prefix=[place], limit=1, offset=1) == [[place, "a", "x"]]


async def test_items_are_found_by_meaning(client: LangGraphClient, place: str) -> None:
    texts = {"ship": "the sea, the sea", "hut": "a mountain hut", "tram": "trams of the city"}
    for key, text in texts.items():
        await client.store.put_item([place], key, {"text": text, "length": len(text)})
    await client.store.put_item([place], "hidden", {"text": "sea sea sea sea"}, index=False)
    await client.store.put_item([place], "tagged", {"tags": ["wood", "mountain"]})
    found = cast("dict[str, Any]", await client.store.search_items([place], query="a mountain"))
    assert set(keys(found)[:2]) == {"hut", "tagged"}
    assert found["items"][0]["score"] > found["items"][-1]["score"] > 0
    assert "hidden" not in keys(found)
    by_both = await client.store.search_items([place], query="sea", filter={"length": {"$gt": 14}}, limit=1)
    assert keys(by_both) == ["ship"]
    assert "hidden" in keys(await client.store.search_items([place]))


async def test_an_item_is_found_by_what_it_says_now(client: LangGraphClient, place: str) -> None:
    await client.store.put_item([place], "one", {"text": "sea", "tags": ["wood"]})
    await client.store.put_item([place], "one", {"text": "city"})
    found = cast("dict[str, Any]", await client.store.search_items([place], query="city"))
    [item] = found["items"]
    assert item["score"] == pytest.approx(1.0)
    await client.store.put_item([place], "one", {"text": "city"}, index=False)
    assert keys(await client.store.search_items([place], query="city")) == []


async def test_graphs_and_clients_share_one_store(client: LangGraphClient) -> None:
    await client.store.put_item(["shared"], "by a client", {"text": "sea sea"})
    result = cast("dict[str, Any]", await client.runs.wait(None, "remembering", input={"note": "a city"}))
    assert result["found"] == ["by a client", "by the graph"]
    item = cast("dict[str, Any]", await client.store.get_item(["shared"], "by the graph"))
    assert item["value"] == {"text": "a city"}
    again = cast("dict[str, Any]", await client.runs.wait(None, "blocking", input={"note": "sea"}))
    assert again["found"] == ["by the graph"]


async def test_one_item_without_a_vector_stops_nobody_else(client: LangGraphClient, place: str) -> None:
    texts = ["poison" if number == 3 else "sea" for number in range(8)]
    puts = (client.store.put_item([place], str(n), {"text": text}) for n, text in enumerate(texts))
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [InternalServerError]
    assert "no such word" in str(next(result for result in results if result is not None))
    found = await client.store.search_items([place], limit=100)
    assert set(keys(found)) == {str(n) for n in range(8)} - {"3"}
    with pytest.raises(InternalServerError, match="no such word"):
        await client.store.search_items([place], query="poison")


async def test_an_item_whose_time_is_over_is_gone(client: LangGraphClient, place: str, database: str) -> None:
    minute = 60
    await client.store.put_item([place], "brief", {"n": 1}, ttl=cast(Any, 0.3 / minute))
    await client.store.put_item([place], "long", {"n": 2}, ttl=10)
    await client.store.put_item([place], "ever", {"n": 3})
    assert set(keys(await client.store.search_items([place], refresh_ttl=False))) == {"brief", "long", "ever"}

    async def is_gone() -> bool:
        return await client.store.get_item([place], "brief", refresh_ttl=False) is None

    await until(is_gone, "the item is gone")
    assert set(keys(await client.store.search_items([place]))) == {"long", "ever"}

    async def is_swept() -> bool:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            cursor = await connection.execute("select key from store where prefix = %s", [place])
            return len(await cursor.fetchall()) == 2

    await until(is_swept, "the row is swept")


async def test_reading_an_item_lets_its_time_begin_anew(client: LangGraphClient, place: str, database: str) -> None:
    await client.store.put_item([place], "k", {"n": 1}, ttl=cast(Any, 5.5))

    async def expiry() -> Any:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            cursor = await connection.execute("select expires_at, ttl_minutes from store where prefix = %s", [place])
            return await cursor.fetchone()

    first = await expiry()
    assert first[1] == 5.5
    await client.store.get_item([place], "k", refresh_ttl=False)
    assert await expiry() == first
    await client.store.get_item([place], "k")
    second = await expiry()
    assert second[0] > first[0]
    await client.store.search_items([place], refresh_ttl=True)
    assert (await expiry())[0] > second[0]


LONG = "x" * 2001


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/store/items", {"namespace": [], "key": "k", "value": {}}, 400),
        ("PUT", "/store/items", {"namespace": ["langgraph"], "key": "k", "value": {}}, 400),
        ("PUT", "/store/items", {"namespace": ["a.b"], "key": "k", "value": {}}, 422),
        ("PUT", "/store/items", {"namespace": ["a\0"], "key": "k", "value": {}}, 422),
        ("PUT", "/store/items", {"namespace": ["a"] * 101, "key": "k", "value": {}}, 422),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k\0", "value": {}}, 422),
        ("PUT", "/store/items", {"namespace": ["a"], "key": LONG, "value": {}}, 422),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {"t": "\0"}}, 422),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {"\0": 1}}, 422),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "index": True}, 422),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "index": ["x"] * 101}, 422),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "ttl": -1}, 422),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "ttl": 1e300}, 422),
        ("GET", "/store/items?namespace=a", None, 400),
        ("GET", "/store/items?key=k", None, 422),
        ("GET", "/store/items?namespace=a&key=%00", None, 422),
        ("GET", "/store/items?namespace=a&key=k&refresh_ttl=perhaps", None, 422),
        ("DELETE", "/store/items", {"namespace": ["a"]}, 422),
        ("POST", "/store/items/search", {"namespace_prefix": ["\0"]}, 422),
        ("POST", "/store/items/search", {"filter": {"a": {"$zz": 1}}}, 400),
        ("POST", "/store/items/search", {"filter": {"a": {"$eq": "\0"}}}, 422),
        ("POST", "/store/items/search", {"filter": {"\0": 1}}, 422),
        ("POST", "/store/items/search", {"query": "\0"}, 422),
        ("POST", "/store/items/search", {"limit": 1001}, 422),
        ("POST", "/store/namespaces", {"prefix": ["\0"]}, 422),
        ("POST", "/store/namespaces", {"max_depth": 0}, 422),
    ],
)
def test_what_cannot_be_done_with_items_is_refused(
    http: httpx.Client, method: str, path: str, body: Any, status: int
) -> None:
    response = http.request(method, path, json=body)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["detail"]


def test_hostile_names_are_names_like_any_other(http: httpx.Client, place: str) -> None:
    for label in ("%", "_", "a_b", "A|B", "(", "[", "\\", "*x", "日本", "'; drop table store; --"):
        item = {"namespace": [place, label], "key": label, "value": {"label": label}}
        assert http.put("/store/items", json=item).status_code == 204
        found = http.post("/store/items/search", json={"namespace_prefix": [place, label]}).json()["items"]
        assert [each["key"] for each in found] == [label]
        listed = http.post("/store/namespaces", json={"prefix": [place, label]}).json()["namespaces"]
        assert listed == [[place, label]]


async def test_the_official_client_raises_what_each_mistake_is(sdk: LangGraphClient, place: str) -> None:
    with pytest.raises(BadRequestError, match="Unsupported operator"):
        await sdk.store.search_items([place], filter={"n": {"$zz": 1}})
    with pytest.raises(UnprocessableEntityError, match=r"U\+0000"):
        await sdk.store.put_item([place], "k", {"t": "\0"})
    assert await sdk.store.get_item([place], "k") is None


def test_an_index_of_another_length_is_refused_at_the_start(database: str, address: str, tmp_path: Path) -> None:
    app = make_store_app(database, write_store_project(tmp_path, store={"index": INDEX | {"dims": 5}}))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("it started")

    with pytest.raises(MigrationError, match=r"dims is 5, but the store's vectors are vector\(4\)"):
        asyncio.run(start())


async def test_an_asynchronous_function_and_half_precision_work_too(dsn: str, tmp_path: Path) -> None:
    skip_without_pgvector(dsn)
    config = write_store_project(tmp_path, store={"index": INDEX | {"embed": "./store_embed.py:embed_later"}})
    with serve_store(dsn, config) as url:
        async with get_client(url=url, api_key=None) as client:
            await client.store.put_item(["a"], "k", {"text": "sea"})
            assert keys(await client.store.search_items(["a"], query="sea")) == ["k"]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("drop table store_vectors, vector_migrations")
    wide = {"dims": 3000, "embed": "./store_embed.py:embed_wrongly"}
    with serve_store(dsn, write_store_project(tmp_path, store={"index": wide})) as url:
        async with get_client(url=url, api_key=None) as client:
            with pytest.raises(InternalServerError, match=r"made 1 vectors of \[1\] numbers for 1 texts"):
                await client.store.put_item(["a"], "wide", {"text": "sea"})
            assert await client.store.get_item(["a"], "wide") is None
