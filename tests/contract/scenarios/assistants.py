"""Owns the calls on assistants: create, version, find, draw, describe, and what is wrong with such requests."""

from uuid import UUID, uuid4, uuid5

from threadline.tests.contract.catalogue import Caller, scenario

NAMESPACE = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
UNKNOWN = "01a00000-0000-4000-8000-000000000000"


def system_id(graph: str) -> str:
    """Return the id of the assistant that the server makes for a graph."""
    return str(uuid5(NAMESPACE, graph))


@scenario
async def every_graph_has_an_assistant(c: Caller) -> None:
    for graph in ("steps", "chat", "configured"):
        await c.sdk.assistants.get(system_id(graph))
    await c.sdk.assistants.search(graph_id="steps", metadata={"created_by": "system"})
    await c.sdk.assistants.count(graph_id="steps", metadata={"created_by": "system"})


@scenario
async def an_assistant_is_created_read_and_deleted(c: Caller) -> None:
    made = await c.sdk.assistants.create(
        "configured", context={"model": "m1"}, metadata={"team": "x"}, name="Mine", description="What it does"
    )
    await c.sdk.assistants.get(made["assistant_id"])
    await c.sdk.assistants.delete(made["assistant_id"])
    await c.refused(c.sdk.assistants.get(made["assistant_id"]))
    await c.refused(c.sdk.assistants.delete(made["assistant_id"]))


@scenario
async def an_assistant_needs_only_a_graph(c: Caller) -> None:
    made = await c.post("/assistants", {"graph_id": "steps"})
    await c.delete(f"/assistants/{made.json()['assistant_id']}")


@scenario
async def an_assistant_gets_the_id_its_creator_chose(c: Caller) -> None:
    assistant_id = str(uuid4())
    await c.sdk.assistants.create("steps", assistant_id=assistant_id, name="first")
    await c.refused(c.sdk.assistants.create("steps", assistant_id=assistant_id, name="second"))
    await c.sdk.assistants.create("steps", assistant_id=assistant_id, name="third", if_exists="do_nothing")
    await c.delete(f"/assistants/{assistant_id}")


@scenario
async def context_and_configurable_are_one(c: Caller) -> None:
    first = await c.post("/assistants", {"graph_id": "configured", "context": {"model": "m1"}})
    second = await c.post("/assistants", {"graph_id": "configured", "config": {"configurable": {"model": "m2"}}})
    await c.post(
        "/assistants",
        {"graph_id": "configured", "context": {"model": "m1"}, "config": {"configurable": {"model": "m2"}}},
    )
    third = await c.post("/assistants", {"graph_id": "configured", "config": {"tags": ["t"], "recursion_limit": 7}})
    for made in (first, second, third):
        await c.delete(f"/assistants/{made.json()['assistant_id']}")


@scenario
async def an_assistant_is_not_created_from_nonsense(c: Caller) -> None:
    await c.post_each(
        "/assistants",
        {},
        {"graph_id": "nobody"},
        {"graph_id": 3},
        {"graph_id": "steps", "assistant_id": "zzz"},
        {"graph_id": "steps", "metadata": []},
        {"graph_id": "steps", "config": []},
        {"graph_id": "steps", "config": {"tags": "t"}},
        {"graph_id": "steps", "config": {"recursion_limit": "many"}},
        {"graph_id": "steps", "context": []},
        {"graph_id": "steps", "if_exists": "perhaps"},
        {"graph_id": "steps", "name": 3},
        [],
    )


@scenario
async def an_assistant_has_versions(c: Caller) -> None:
    made = await c.sdk.assistants.create("configured", context={"model": "m1"}, metadata={"team": "x"}, name="E1")
    assistant_id = made["assistant_id"]
    await c.sdk.assistants.update(assistant_id, context={"model": "m2"}, metadata={"k": 2})
    await c.sdk.assistants.update(assistant_id, name="E2", description="second")
    await c.sdk.assistants.get_versions(assistant_id)
    await c.sdk.assistants.get_versions(assistant_id, limit=1)
    await c.sdk.assistants.get_versions(assistant_id, limit=1, offset=1)
    await c.sdk.assistants.get_versions(assistant_id, metadata={"k": 2})
    await c.sdk.assistants.set_latest(assistant_id, 1)
    await c.sdk.assistants.get(assistant_id)
    await c.sdk.assistants.update(assistant_id, name="E4")
    await c.refused(c.sdk.assistants.set_latest(assistant_id, 99))
    await c.post(f"/assistants/{assistant_id}/latest", {})
    await c.post(f"/assistants/{assistant_id}/latest", {"version": "one"})
    await c.delete(f"/assistants/{assistant_id}")


@scenario
async def an_assistant_may_change_its_graph(c: Caller) -> None:
    made = await c.sdk.assistants.create("steps", name="mover")
    assistant_id = made["assistant_id"]
    await c.patch(f"/assistants/{assistant_id}", {"graph_id": "echo"})
    await c.patch(f"/assistants/{assistant_id}", {"graph_id": "nobody"})
    await c.patch(f"/assistants/{assistant_id}", {})
    await c.patch(f"/assistants/{assistant_id}", {"metadata": 3})
    await c.patch(f"/assistants/{assistant_id}", {"config": {"configurable": {"a": 1}}, "context": {"b": 1}})
    await c.delete(f"/assistants/{assistant_id}")


@scenario
async def an_assistant_that_is_nowhere_is_not_found(c: Caller) -> None:
    await c.get(f"/assistants/{UNKNOWN}")
    await c.get("/assistants/zzz")
    await c.patch(f"/assistants/{UNKNOWN}", {})
    await c.patch("/assistants/zzz", {})
    await c.delete(f"/assistants/{UNKNOWN}")
    await c.delete("/assistants/zzz")
    await c.post(f"/assistants/{UNKNOWN}/versions", {})
    await c.post(f"/assistants/{UNKNOWN}/latest", {"version": 1})
    await c.get(f"/assistants/{UNKNOWN}/graph")
    await c.get(f"/assistants/{UNKNOWN}/schemas")
    await c.get(f"/assistants/{UNKNOWN}/subgraphs")
    await c.get("/assistants/zzz/graph")
    await c.get("/assistants/zzz/schemas")


@scenario
async def assistants_are_found(c: Caller) -> None:
    made = [
        await c.sdk.assistants.create(graph, name=f"Found {number}", metadata={"of": c.name, "number": number})
        for number, graph in enumerate(("steps", "steps", "echo"))
    ]
    mine = {"metadata": {"of": c.name}}
    await c.sdk.assistants.search(metadata={"of": c.name})
    await c.sdk.assistants.search(metadata={"of": c.name}, graph_id="echo")
    await c.sdk.assistants.search(metadata={"of": c.name}, name="found 1")
    await c.sdk.assistants.search(metadata={"of": c.name}, limit=2, response_format="object")
    await c.sdk.assistants.search(metadata={"of": c.name}, limit=2, offset=2)
    await c.sdk.assistants.search(metadata={"of": c.name}, sort_by="name", sort_order="asc", select=["name", "version"])
    await c.sdk.assistants.search(metadata={"of": c.name}, sort_by="graph_id", sort_order="desc", select=["graph_id"])
    await c.sdk.assistants.count(metadata={"of": c.name})
    await c.sdk.assistants.count(metadata={"of": c.name}, graph_id="echo")
    await c.sdk.assistants.count(metadata={"of": c.name}, name="FOUND 2")
    await c.post("/assistants/search", mine | {"graph_id": "nobody"})
    for one in made:
        await c.delete(f"/assistants/{one['assistant_id']}")


@scenario
async def assistants_are_not_found_by_nonsense(c: Caller) -> None:
    await c.post_each(
        "/assistants/search",
        {"limit": 0},
        {"limit": 1001},
        {"offset": -1},
        {"sort_by": "colour"},
        {"sort_order": "up"},
        {"select": ["colour"]},
        {"metadata": []},
        {"graph_id": 3},
    )
    await c.post("/assistants/count", {"metadata": []})


@scenario
async def a_graph_is_drawn(c: Caller) -> None:
    for graph in ("steps", "asking", "spreading", "nested"):
        await c.sdk.assistants.get_graph(system_id(graph))
    await c.sdk.assistants.get_graph(system_id("nested"), xray=True)
    await c.sdk.assistants.get_graph(system_id("nested"), xray=1)
    await c.get("/assistants/steps/graph")
    await c.get(f"/assistants/{system_id('steps')}/graph?xray=0")
    await c.get(f"/assistants/{system_id('steps')}/graph?xray=-1")
    await c.get(f"/assistants/{system_id('steps')}/graph?xray=deep")


@scenario
async def a_graph_tells_its_schemas(c: Caller) -> None:
    for graph in ("steps", "chat", "configured"):
        await c.sdk.assistants.get_schemas(system_id(graph))
    await c.get("/assistants/steps/schemas")


@scenario
async def a_graph_tells_its_subgraphs(c: Caller) -> None:
    await c.sdk.assistants.get_subgraphs(system_id("steps"))
    await c.sdk.assistants.get_subgraphs(system_id("nested"))
    await c.sdk.assistants.get_subgraphs(system_id("nested"), namespace="inner")
    await c.sdk.assistants.get_subgraphs(system_id("nested"), namespace="nobody")
    await c.sdk.assistants.get_subgraphs(system_id("nested"), recurse=True)
    await c.get("/assistants/nested/subgraphs")


@scenario
async def threads_go_with_their_assistant_when_asked(c: Caller) -> None:
    made = await c.sdk.assistants.create("steps", name="with threads")
    thread_id = await c.thread_after(made["assistant_id"], input={"n": 1})
    await c.call("DELETE", f"/assistants/{made['assistant_id']}?delete_threads=true")
    await c.get(f"/threads/{thread_id}")


@scenario
async def threads_stay_when_their_assistant_goes(c: Caller) -> None:
    made = await c.sdk.assistants.create("steps", name="without threads")
    thread_id = await c.thread_after(made["assistant_id"], input={"n": 1})
    await c.call("DELETE", f"/assistants/{made['assistant_id']}")
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/state")
    await c.post(f"/threads/{thread_id}/runs", {"assistant_id": made["assistant_id"]})
