"""Owns the calls on the store: put, get, search, list, delete, and what is wrong with such requests."""

from typing import Any

from threadline.tests.contract.catalogue import Caller, scenario_alone


@scenario_alone
async def an_item_is_put_read_and_deleted(c: Caller) -> None:
    space = [c.name, "notes"]
    await c.sdk.store.put_item(space, "first", {"text": "hello", "n": 1})
    await c.sdk.store.get_item(space, "first")
    await c.sdk.store.put_item(space, "first", {"text": "changed"})
    await c.sdk.store.get_item(space, "first")
    await c.sdk.store.delete_item(space, "first")
    await c.get("/store/items", params={"namespace": ".".join(space), "key": "first"})
    await c.sdk.store.delete_item(space, "first")


@scenario_alone
async def items_are_found(c: Caller) -> None:
    for number in range(3):
        await c.quiet.put(
            "/store/items",
            json={
                "namespace": [c.name, f"n{number % 2}"],
                "key": f"k{number}",
                "value": {"n": number, "odd": number % 2},
            },
        )
    await c.sdk.store.search_items([c.name], filter={"odd": 1})
    await c.sdk.store.search_items([c.name, "n1"])
    await c.sdk.store.search_items([c.name], filter={"n": {"$gte": 1}}, limit=1)
    await c.sdk.store.search_items([c.name, "none"])
    await c.sdk.store.search_items([c.name, "n1"], query="words")
    await c.sdk.store.search_items([c.name, "n0"], limit=1, offset=1)
    await c.sdk.store.search_items([c.name], filter={"n": 2})


@scenario_alone
async def namespaces_are_listed(c: Caller) -> None:
    for path in (["a"], ["a", "x"], ["b", "x"]):
        await c.quiet.put("/store/items", json={"namespace": [c.name, *path], "key": "k", "value": {}})
    await c.sdk.store.list_namespaces([c.name])
    await c.sdk.store.list_namespaces([c.name], max_depth=2)
    await c.sdk.store.list_namespaces([c.name], suffix=["x"])
    await c.sdk.store.list_namespaces([c.name, "a"])
    await c.sdk.store.list_namespaces([c.name], limit=1, offset=1)
    await c.sdk.store.list_namespaces([c.name, "none"])


@scenario_alone
async def items_are_not_put_from_nonsense(c: Caller) -> None:
    good: dict[str, Any] = {"namespace": [c.name], "key": "k", "value": {}}
    wrongs: list[dict[str, Any]] = [
        {"namespace": []},
        {"namespace": "text"},
        {"namespace": ["a.b"]},
        {"namespace": [""]},
        {"namespace": ["langgraph"]},
        {"namespace": [3]},
        {"key": 3},
        {"key": ""},
        {"value": []},
        {"value": "text"},
        {"value": None},
        {"index": "text"},
        {"ttl": "long"},
    ]
    for wrong in wrongs:
        await c.put("/store/items", good | wrong)
    for name in good:
        await c.put("/store/items", {key: value for key, value in good.items() if key != name})
    await c.put("/store/items", [])


@scenario_alone
async def items_are_not_read_by_nonsense(c: Caller) -> None:
    await c.get("/store/items")
    await c.get("/store/items", params={"namespace": "a"})
    await c.get("/store/items", params={"key": "k"})
    await c.get("/store/items", params={"namespace": "a..b", "key": "k"})
    await c.get("/store/items", params={"namespace": c.name, "key": "none"})
    await c.post_each(
        "/store/items/search",
        {},
        {"namespace_prefix": "text"},
        {"namespace_prefix": [c.name], "limit": 0},
        {"namespace_prefix": [c.name], "limit": -1},
        {"namespace_prefix": [c.name], "limit": "x"},
        {"namespace_prefix": [c.name], "offset": -1},
        {"namespace_prefix": [c.name], "filter": []},
        {"namespace_prefix": [c.name], "filter": {"n": {"$bogus": 1}}},
    )
    await c.post_each("/store/namespaces", {"prefix": "text"}, {"max_depth": "x"}, {"limit": 0}, {"offset": -1})
    await c.delete("/store/items", {})
    await c.delete("/store/items", {"namespace": ["a.b"], "key": "k"})


@scenario_alone
async def items_lack_what_a_filter_asks_for(c: Caller) -> None:
    await c.quiet.put("/store/items", json={"namespace": [c.name], "key": "with", "value": {"n": 5}})
    await c.quiet.put("/store/items", json={"namespace": [c.name], "key": "without", "value": {}})
    await c.post("/store/items/search", {"namespace_prefix": [c.name], "filter": {"n": {"$gte": 2}}})
