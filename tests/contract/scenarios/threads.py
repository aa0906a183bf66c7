"""Owns the calls on threads: create, find, label, copy, prune, remove, and what is wrong with such requests."""

from uuid import uuid4

from threadline.tests.contract.catalogue import Caller, scenario

UNKNOWN = "01a00000-0000-7000-8000-000000000000"


@scenario
async def a_thread_is_created_read_and_deleted(c: Caller) -> None:
    thread = await c.sdk.threads.create(metadata={"team": "x"})
    await c.sdk.threads.get(thread["thread_id"])
    await c.sdk.threads.delete(thread["thread_id"])
    await c.refused(c.sdk.threads.get(thread["thread_id"]))
    await c.refused(c.sdk.threads.delete(thread["thread_id"]))
    await c.post("/threads", {})


@scenario
async def a_thread_gets_the_id_its_creator_chose(c: Caller) -> None:
    thread_id = str(uuid4())
    await c.sdk.threads.create(thread_id=thread_id, metadata={"first": True})
    await c.refused(c.sdk.threads.create(thread_id=thread_id))
    await c.sdk.threads.create(thread_id=thread_id, if_exists="do_nothing", metadata={"second": True})
    await c.post("/threads", {"thread_id": thread_id, "if_exists": "raise"})


@scenario
async def a_thread_is_not_created_from_nonsense(c: Caller) -> None:
    await c.post("/threads", {"thread_id": "zzz"})
    await c.post("/threads", {"if_exists": "perhaps"})
    await c.post("/threads", {"metadata": [1]})
    await c.post("/threads", {"metadata": "x"})
    await c.post("/threads", [])
    await c.post("/threads", "text")
    await c.post("/threads", {"ttl": 5})
    await c.post("/threads", {"supersteps": {}})
    await c.http.post("/threads", content=b"{broken", headers={"content-type": "application/json"})
    await c.http.post("/threads", content=b"", headers={"content-type": "application/json"})


@scenario
async def fields_that_nobody_knows_are_ignored(c: Caller) -> None:
    await c.post("/threads", {"colour": "red", "metadata": {}})


@scenario
async def the_metadata_of_a_thread_is_merged(c: Caller) -> None:
    thread_id = await c.thread(metadata={"a": 1, "deep": {"x": 1}})
    await c.sdk.threads.update(thread_id, metadata={"b": 2, "deep": {"y": 2}})
    await c.patch(f"/threads/{thread_id}", {"metadata": {"a": None}})
    await c.patch(f"/threads/{thread_id}", {"metadata": {"c": 3}}, headers={"prefer": "return=minimal"})
    await c.patch(f"/threads/{thread_id}", {})
    await c.get(f"/threads/{thread_id}")
    await c.patch(f"/threads/{thread_id}", {"metadata": "x"})
    await c.refused(c.sdk.threads.update(UNKNOWN, metadata={}))
    await c.patch("/threads/zzz", {"metadata": {}})


@scenario
async def a_thread_that_is_nowhere_is_not_found(c: Caller) -> None:
    await c.get(f"/threads/{UNKNOWN}")
    await c.get("/threads/zzz")
    await c.delete(f"/threads/{UNKNOWN}")
    await c.delete("/threads/zzz")
    await c.get(f"/threads/{UNKNOWN}/state")
    await c.get(f"/threads/{UNKNOWN}/history")
    await c.post(f"/threads/{UNKNOWN}/history", {})
    await c.post(f"/threads/{UNKNOWN}/state", {"values": {}})
    await c.get(f"/threads/{UNKNOWN}/runs")
    await c.post(f"/threads/{UNKNOWN}/copy")
    await c.get(f"/threads/{UNKNOWN}/storage")
    await c.get(f"/threads/{UNKNOWN}/state/{UNKNOWN}")
    await c.post(f"/threads/{UNKNOWN}/state/checkpoint", {"checkpoint": {"checkpoint_id": UNKNOWN}})


@scenario
async def threads_are_found_by_their_metadata(c: Caller) -> None:
    for number in range(3):
        await c.thread(metadata={"of": c.name, "number": number, "deep": {"odd": number % 2, "x": 1}})
    await c.sdk.threads.search(metadata={"of": c.name})
    await c.sdk.threads.search(metadata={"of": c.name, "number": 1})
    await c.sdk.threads.search(metadata={"of": c.name, "deep": {"odd": 1}})
    await c.sdk.threads.search(metadata={"of": c.name, "number": 9})
    await c.sdk.threads.count(metadata={"of": c.name})
    await c.sdk.threads.count(metadata={"of": c.name, "number": 9})


@scenario
async def threads_are_found_page_by_page(c: Caller) -> None:
    for number in range(5):
        await c.thread(metadata={"of": c.name, "number": number})
    mine = {"metadata": {"of": c.name}, "select": ["metadata"]}
    await c.post("/threads/search", mine | {"limit": 2})
    await c.post("/threads/search", mine | {"limit": 2, "offset": 2})
    await c.post("/threads/search", mine | {"limit": 2, "offset": 4})
    await c.post("/threads/search", mine | {"limit": 2, "offset": 9})
    await c.post("/threads/search", mine | {"limit": 5})
    await c.post("/threads/search", mine | {"sort_by": "created_at", "sort_order": "asc"})
    await c.post("/threads/search", mine | {"sort_by": "updated_at", "sort_order": "desc"})
    await c.post("/threads/search", mine | {"sort_by": "state_updated_at"})
    await c.post("/threads/search", mine | {"sort_by": "status", "limit": 1})


@scenario
async def threads_are_not_found_by_nonsense(c: Caller) -> None:
    await c.post_each(
        "/threads/search",
        {"limit": 0},
        {"limit": 1001},
        {"limit": "ten"},
        {"offset": -1},
        {"sort_by": "colour"},
        {"sort_order": "up"},
        {"status": "asleep"},
        {"select": ["colour"]},
        {"select": "metadata"},
        {"metadata": []},
        {"values": 3},
        {"ids": ["zzz"]},
        {"ids": "zzz"},
        {"extract": {"n": "foo.n"}},
        {"extract": {"bad alias!": "values.n"}},
        {"extract": {f"a{number}": "values.n" for number in range(11)}},
    )
    await c.post("/threads/count", {"status": "asleep"})
    await c.post("/threads/count", {"metadata": 3})


@scenario
async def threads_are_found_by_ids_values_and_status(c: Caller) -> None:
    first = await c.thread_after("steps", input={"n": 1})
    second = await c.thread_after("asking", input={"n": 2})
    ids = {"ids": [first, second]}
    await c.sdk.threads.search(ids=[first])
    await c.sdk.threads.search(ids=[first, second], status="interrupted")
    await c.sdk.threads.search(ids=[first, second], status="error")
    await c.post("/threads/search", ids | {"values": {"n": 4}})
    await c.post("/threads/search", ids | {"values": {"n": 99}})
    await c.post("/threads/search", ids | {"select": ["thread_id", "status", "interrupts"]})
    paths = {"n": "values.n", "last": "values.log[-1]", "first": "values.log[0]", "none": "values.zz.y"}
    await c.post("/threads/search", {"ids": [first], "extract": paths})
    await c.post("/threads/search", {"ids": [first], "extract": {"g": "metadata.graph_id"}, "select": ["thread_id"]})
    await c.post("/threads/search", {"ids": [UNKNOWN]})


@scenario
async def a_thread_is_copied(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    copy = await c.post(f"/threads/{thread_id}/copy")
    copied = copy.json()["thread_id"]
    await c.get(f"/threads/{copied}")
    await c.get(f"/threads/{copied}/state")
    await c.get(f"/threads/{copied}/runs")
    await c.get(f"/threads/{copied}/history?limit=10")
    await c.post("/threads/zzz/copy")
    await c.sdk.threads.copy(thread_id)


@scenario
async def an_interrupted_thread_is_copied(c: Caller) -> None:
    thread_id = await c.thread_after("asking", input={"n": 1})
    copied = (await c.post(f"/threads/{thread_id}/copy")).json()["thread_id"]
    await c.get(f"/threads/{copied}/state")
    await c.post(f"/threads/{copied}/runs/wait", {"assistant_id": "asking", "command": {"resume": "yes"}})
    await c.get(f"/threads/{thread_id}")


@scenario
async def threads_are_pruned(c: Caller) -> None:
    first, second = await c.thread(), await c.thread()
    await c.post("/threads/prune", {"thread_ids": [first, second, UNKNOWN]})
    await c.get(f"/threads/{first}")
    await c.post("/threads/prune", {"thread_ids": [UNKNOWN], "strategy": "delete"})
    await c.post("/threads/prune", {"thread_ids": []})
    await c.post("/threads/prune", {"thread_ids": ["zzz"]})
    await c.post("/threads/prune", {"thread_ids": [UNKNOWN], "strategy": "some"})
    await c.post("/threads/prune", {})


@scenario
async def a_pruned_thread_keeps_its_latest_state(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    await c.post("/threads/prune", {"thread_ids": [thread_id], "strategy": "keep_latest"})


@scenario
async def a_thread_is_made_of_supersteps(c: Caller) -> None:
    made = await c.sdk.threads.create(
        graph_id="steps",
        supersteps=[
            {"updates": [{"values": {"n": 5}, "as_node": "__input__"}]},
            {"updates": [{"values": {"n": 6, "log": ["plan"]}, "as_node": "plan"}]},
        ],
    )
    thread_id = made["thread_id"]
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/state")
    await c.post(f"/threads/{thread_id}/history", {"limit": 10})
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps"})


@scenario
async def supersteps_without_a_graph_are_a_mistake(c: Caller) -> None:
    await c.post("/threads", {"supersteps": [{"updates": [{"values": {"n": 5}, "as_node": "__input__"}]}]})


@scenario
async def supersteps_of_an_unknown_node_are_a_mistake(c: Caller) -> None:
    steps = [{"updates": [{"values": {"n": 5}, "as_node": "nobody"}]}]
    await c.post("/threads", {"metadata": {"graph_id": "steps"}, "supersteps": steps})


@scenario
async def a_thread_may_have_a_time_to_live(c: Caller) -> None:
    made = await c.post("/threads", {"ttl": {"ttl": 60, "strategy": "delete"}})
    thread_id = made.json()["thread_id"]
    await c.get(f"/threads/{thread_id}?include=ttl")
    await c.patch(f"/threads/{thread_id}", {"ttl": {"ttl": 5}})
    await c.sdk.threads.create(ttl=5)
    await c.post("/threads", {"ttl": {"ttl": "long"}})
    await c.post("/threads", {"ttl": {"ttl": 5, "strategy": "burn"}})
    await c.get(f"/threads/{thread_id}?include=colour")


@scenario
async def a_thread_tells_what_it_stores(c: Caller) -> None:
    thread_id = await c.thread()
    await c.get(f"/threads/{thread_id}/storage")
    thread_id = await c.thread_after("steps", input={"n": 1})
    await c.get(f"/threads/{thread_id}/storage")
