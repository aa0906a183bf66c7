"""Owns the calls on crons: create, find, change, delete, fire, and what is wrong with such requests."""

from typing import Any

from threadline.tests.contract.catalogue import Caller, scenario
from threadline.tests.contract.scenarios.assistants import system_id

UNKNOWN = "01a00000-0000-7000-8000-000000000000"
RARELY = "0 12 1 1 *"


@scenario
async def a_cron_is_created_read_and_deleted(c: Caller) -> None:
    cron: Any = await c.sdk.crons.create("steps", schedule=RARELY, input={"n": 1}, metadata={"of": c.name})
    cron_id = cron["cron_id"]
    await c.get(f"/runs/crons/{cron_id}")
    await c.sdk.crons.delete(cron_id)
    await c.get(f"/runs/crons/{cron_id}")
    await c.refused(c.sdk.crons.delete(cron_id))


@scenario
async def a_cron_keeps_what_its_runs_are_made_of(c: Caller) -> None:
    made = await c.post(
        "/runs/crons",
        {
            "schedule": RARELY,
            "assistant_id": system_id("configured"),
            "timezone": "America/New_York",
            "input": {"n": 1},
            "config": {"tags": ["t"], "recursion_limit": 9},
            "context": {"model": "m1"},
            "metadata": {"of": c.name},
            "interrupt_before": ["tell"],
            "on_run_completed": "keep",
            "stream_mode": ["updates"],
            "stream_subgraphs": True,
            "stream_resumable": True,
            "durability": "sync",
            "end_time": "2090-01-01T00:00:00Z",
            "enabled": False,
        },
    )
    await c.delete(f"/runs/crons/{made.json()['cron_id']}")


@scenario
async def a_thread_has_crons(c: Caller) -> None:
    thread_id = await c.thread()
    cron: Any = await c.sdk.crons.create_for_thread(thread_id, "steps", schedule=RARELY, input={"n": 1})
    await c.get(f"/runs/crons/{cron['cron_id']}")
    await c.post("/runs/crons/search", {"thread_id": thread_id})
    await c.post("/runs/crons/count", {"thread_id": thread_id})
    await c.delete(f"/runs/crons/{cron['cron_id']}")
    await c.post(f"/threads/{UNKNOWN}/runs/crons", {"schedule": RARELY, "assistant_id": "steps"})
    await c.post("/threads/zzz/runs/crons", {"schedule": RARELY, "assistant_id": "steps"})


@scenario
async def a_cron_is_changed(c: Caller) -> None:
    made = await c.quiet.post(
        "/runs/crons", json={"schedule": RARELY, "assistant_id": "steps", "metadata": {"a": 1}, "input": {"n": 1}}
    )
    path = f"/runs/crons/{made.json()['cron_id']}"
    await c.patch(path, {"schedule": "0 6 1 1 *"})
    await c.patch(path, {"timezone": "Europe/Berlin"})
    await c.patch(path, {"enabled": False})
    await c.patch(path, {"metadata": {"b": 2}})
    await c.patch(path, {"end_time": "2090-01-01T00:00:00Z"})
    await c.patch(path, {"end_time": None})
    await c.patch(path, {"input": {"n": 5}})
    await c.patch(path, {})
    await c.patch(path, {"schedule": "often"})
    await c.patch(path, {"timezone": "Mars/X"})
    await c.patch(path, {"enabled": "perhaps"})
    await c.get(path)
    await c.delete(path)


@scenario
async def a_cron_is_not_created_from_nonsense(c: Caller) -> None:
    good = {"schedule": RARELY, "assistant_id": "steps"}
    wrongs: list[dict[str, Any]] = [
        {"schedule": "often"},
        {"schedule": 3},
        {"schedule": ""},
        {"schedule": "61 * * * *"},
        {"assistant_id": "nobody"},
        {"assistant_id": UNKNOWN},
        {"timezone": "Mars/X"},
        {"timezone": 3},
        {"metadata": []},
        {"on_run_completed": "burn"},
        {"enabled": "perhaps"},
        {"webhook": 3},
        {"config": {"configurable": {"a": 1}}, "context": {"b": 1}},
    ]
    for wrong in wrongs:
        await c.post("/runs/crons", good | wrong)
    await c.post_each("/runs/crons", {"schedule": RARELY}, {"assistant_id": "steps"}, [])


@scenario
async def a_cron_that_is_nowhere_is_not_found(c: Caller) -> None:
    for cron_id in (UNKNOWN, "zzz"):
        await c.get(f"/runs/crons/{cron_id}")
        await c.patch(f"/runs/crons/{cron_id}", {"enabled": False})
        await c.delete(f"/runs/crons/{cron_id}")


@scenario
async def crons_are_found(c: Caller) -> None:
    made = [
        await c.quiet.post(
            "/runs/crons",
            json={"schedule": RARELY, "assistant_id": graph, "metadata": {"of": c.name}, "enabled": number != 1},
        )
        for number, graph in enumerate(("steps", "steps", "echo"))
    ]
    mine = {"metadata": {"of": c.name}}
    await c.post("/runs/crons/search", mine)
    await c.post("/runs/crons/search", mine | {"assistant_id": system_id("echo")})
    await c.post("/runs/crons/search", mine | {"assistant_id": "echo"})
    await c.post("/runs/crons/search", mine | {"enabled": False})
    await c.post("/runs/crons/search", mine | {"limit": 2, "select": ["schedule", "enabled"]})
    await c.post("/runs/crons/search", mine | {"limit": 2, "offset": 2, "select": ["schedule"]})
    await c.post("/runs/crons/search", mine | {"sort_by": "created_at", "sort_order": "asc", "select": ["enabled"]})
    await c.post("/runs/crons/count", mine)
    await c.post("/runs/crons/count", mine | {"assistant_id": system_id("echo")})
    await c.post_each(
        "/runs/crons/search",
        {"limit": 0},
        {"limit": 1001},
        {"offset": -1},
        {"sort_by": "colour"},
        {"sort_order": "up"},
        {"select": ["colour"]},
        {"assistant_id": "nobody"},
        {"thread_id": "zzz"},
        {"metadata": []},
    )
    for one in made:
        await c.delete(f"/runs/crons/{one.json()['cron_id']}")


@scenario
async def a_cron_fires(c: Caller) -> None:
    made = await c.quiet.post(
        "/runs/crons",
        json={
            "schedule": "* * * * * */2",
            "assistant_id": "steps",
            "input": {"n": 1},
            "metadata": {"of": c.name},
            "on_run_completed": "keep",
        },
    )
    mine = {"metadata": {"of": c.name}}

    async def first() -> Any:
        return (await c.quiet.post("/threads/search", json=mine | {"sort_order": "asc", "limit": 1})).json()

    threads = await c.eventually(first, seconds=40)
    await c.quiet.delete(f"/runs/crons/{made.json()['cron_id']}")
    thread_id = threads[0]["thread_id"]
    await c.until(f"/threads/{thread_id}", lambda thread: thread["status"] == "idle")
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/runs")
