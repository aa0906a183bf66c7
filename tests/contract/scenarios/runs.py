"""Owns the calls on runs: create, look up, list, cancel, delete, and what is wrong with such requests."""

from typing import Any
from uuid import uuid4

from threadline.tests.contract.catalogue import Caller, scenario, scenario_alone
from threadline.tests.contract.scenarios.assistants import system_id

UNKNOWN = "01a00000-0000-7000-8000-000000000000"


@scenario
async def a_run_is_created_and_looked_up(c: Caller) -> None:
    thread_id = await c.thread()
    run = await c.sdk.runs.create(thread_id, "steps", input={"n": 1}, metadata={"mine": 1})
    await c.ended(thread_id, run["run_id"])
    await c.sdk.runs.get(thread_id, run["run_id"])
    await c.sdk.runs.list(thread_id)
    await c.get(f"/threads/{thread_id}")
    await c.sdk.runs.delete(thread_id, run["run_id"])
    await c.refused(c.sdk.runs.get(thread_id, run["run_id"]))
    await c.refused(c.sdk.runs.delete(thread_id, run["run_id"]))
    await c.get(f"/threads/{thread_id}/state")


@scenario
async def a_run_names_its_assistant_by_id(c: Caller) -> None:
    thread_id = await c.thread()
    await c.sdk.runs.wait(thread_id, system_id("steps"), input={"n": 1})
    await c.sdk.runs.list(thread_id, select=["assistant_id", "status", "metadata"])


@scenario
async def runs_are_listed_page_by_page(c: Caller) -> None:
    thread_id = await c.thread()
    for number in range(3):
        run_id = await c.start(thread_id, "steps", input={"n": number}, metadata={"number": number})
        await c.ended(thread_id, run_id)
    runs = f"/threads/{thread_id}/runs"
    chosen = "select=run_id&select=metadata&select=status"
    for query in ("limit=2", "limit=2&offset=2", "offset=9", "status=success", "status=error"):
        await c.get(f"{runs}?{query}&{chosen}")
    await c.get(f"{runs}?select=status")


@scenario
async def runs_are_not_listed_by_nonsense(c: Caller) -> None:
    thread_id = await c.thread()
    runs = f"/threads/{thread_id}/runs"
    for query in ("limit=x", "limit=0", "limit=1001", "offset=-1", "select=colour", "status=asleep"):
        await c.get(f"{runs}?{query}")
    await c.get("/threads/zzz/runs")


@scenario
async def a_run_is_not_created_from_nonsense(c: Caller) -> None:
    thread_id = await c.thread()
    await c.post_each(
        f"/threads/{thread_id}/runs",
        {"assistant_id": "nobody"},
        {"assistant_id": UNKNOWN},
        {"assistant_id": 3},
        {"assistant_id": ""},
        {"input": {}},
        {"assistant_id": "steps", "stream_mode": "colours"},
        {"assistant_id": "steps", "stream_mode": ["values", "colours"]},
        {"assistant_id": "steps", "multitask_strategy": "dance"},
        {"assistant_id": "steps", "if_not_exists": "perhaps"},
        {"assistant_id": "steps", "after_seconds": "soon"},
        {"assistant_id": "steps", "interrupt_before": 3},
        {"assistant_id": "steps", "interrupt_before": "plan"},
        {"assistant_id": "steps", "config": []},
        {"assistant_id": "steps", "config": {"recursion_limit": "x"}},
        {"assistant_id": "steps", "config": {"tags": "x"}},
        {"assistant_id": "steps", "context": []},
        {"assistant_id": "steps", "metadata": []},
        {"assistant_id": "steps", "durability": "maybe"},
        {"assistant_id": "steps", "command": "go"},
        {"assistant_id": "steps", "webhook": 3},
        {"assistant_id": "steps", "webhook": ""},
        {"assistant_id": "steps", "feedback_keys": "thumbs"},
        {"assistant_id": "steps", "stream_subgraphs": "yes"},
        {"assistant_id": "steps", "checkpoint": 3},
        {"assistant_id": "steps", "checkpoint_id": 3},
        {"assistant_id": "steps", "on_completion": "burn"},
        {"assistant_id": "steps", "config": {"configurable": {"a": 1}}, "context": {"b": 1}},
        [],
        {},
    )


@scenario
async def a_run_on_a_thread_that_is_nowhere(c: Caller) -> None:
    for way in ("", "/stream", "/wait"):
        await c.post(f"/threads/{UNKNOWN}/runs{way}", {"assistant_id": "steps"})
        await c.post(f"/threads/zzz/runs{way}", {"assistant_id": "steps"})
    await c.refused(c.sdk.runs.create(UNKNOWN, "steps"))
    await c.refused(c.sdk.runs.wait(UNKNOWN, "nobody"))


@scenario
async def a_run_may_create_its_thread(c: Caller) -> None:
    thread_id = str(uuid4())
    await c.sdk.runs.wait(thread_id, "steps", input={"n": 1}, if_not_exists="create")
    await c.get(f"/threads/{thread_id}")


@scenario
async def a_run_that_is_nowhere_is_not_found(c: Caller) -> None:
    thread_id = await c.thread()
    await c.get(f"/threads/{thread_id}/runs/{UNKNOWN}")
    await c.get(f"/threads/{thread_id}/runs/zzz")
    await c.delete(f"/threads/{thread_id}/runs/{UNKNOWN}")
    await c.delete(f"/threads/{thread_id}/runs/zzz")
    await c.post(f"/threads/{thread_id}/runs/{UNKNOWN}/cancel")
    await c.post(f"/threads/{thread_id}/runs/{UNKNOWN}/cancel?wait=true")
    await c.post(f"/threads/{thread_id}/runs/{UNKNOWN}/cancel?action=rollback")
    await c.post(f"/threads/{thread_id}/runs/{UNKNOWN}/cancel?action=zzz")
    await c.post(f"/threads/{thread_id}/runs/zzz/cancel")
    await c.get(f"/threads/{UNKNOWN}/runs/{UNKNOWN}")


@scenario
async def a_run_of_another_thread_is_not_found(c: Caller) -> None:
    thread_id, other = await c.thread(), await c.thread()
    run_id = await c.start(thread_id, "steps", input={"n": 1})
    await c.ended(thread_id, run_id)
    await c.get(f"/threads/{other}/runs/{run_id}")
    await c.delete(f"/threads/{other}/runs/{run_id}")
    await c.post(f"/threads/{other}/runs/{run_id}/cancel")
    await c.get(f"/threads/{other}/runs/{run_id}/join")


@scenario
async def a_running_run_is_cancelled(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.at_gate(thread_id, c.gate())
    await c.get(f"/threads/{thread_id}")
    await c.sdk.runs.cancel(thread_id, run_id)
    await c.ended(thread_id, run_id)
    await c.get(f"/threads/{thread_id}/runs/{run_id}?select=status")
    await c.get(f"/threads/{thread_id}/state")
    await c.get(f"/threads/{thread_id}")
    await c.refused(c.sdk.runs.cancel(thread_id, run_id))


@scenario
async def a_cancel_waits_when_asked(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.at_gate(thread_id, c.gate())
    await c.sdk.runs.cancel(thread_id, run_id, wait=True)
    await c.sdk.runs.list(thread_id, select=["status"])
    await c.post(f"/threads/{thread_id}/runs/{run_id}/cancel?wait=true")


@scenario
async def a_running_run_is_rolled_back(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.at_gate(thread_id, c.gate())
    await c.sdk.runs.cancel(thread_id, run_id, wait=True, action="rollback")
    await c.ended(thread_id, run_id)
    await c.refused(c.sdk.runs.get(thread_id, run_id))
    await c.get(f"/threads/{thread_id}/state")
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/runs")


@scenario
async def a_rollback_returns_to_what_was_before(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    run_id = await c.at_gate(thread_id, c.gate())
    await c.post(f"/threads/{thread_id}/runs/{run_id}/cancel?action=rollback&wait=true")
    await c.ended(thread_id, run_id)
    await c.get(f"/threads/{thread_id}/state")
    await c.get(f"/threads/{thread_id}/history?limit=10")


@scenario
async def a_delayed_run_is_pending(c: Caller) -> None:
    thread_id = await c.thread()
    run = await c.sdk.runs.create(thread_id, "steps", input={"n": 1}, after_seconds=600)
    await c.get(f"/threads/{thread_id}")
    await c.sdk.runs.cancel(thread_id, run["run_id"], wait=True)
    await c.sdk.runs.list(thread_id, select=["status"])
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/runs/{run['run_id']}/join")


@scenario
async def a_delayed_run_is_rolled_back(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.start(thread_id, "steps", input={"n": 1}, after_seconds=600)
    await c.post(f"/threads/{thread_id}/runs/{run_id}/cancel?action=rollback")
    await c.ended(thread_id, run_id)
    await c.get(f"/threads/{thread_id}/runs")
    await c.get(f"/threads/{thread_id}")


@scenario
async def a_delayed_run_starts_when_it_is_due(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.start(thread_id, "steps", input={"n": 1}, after_seconds=1)
    await c.get(f"/threads/{thread_id}/runs/{run_id}/join")


@scenario
async def a_running_run_is_deleted(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.at_gate(thread_id, c.gate())
    await c.sdk.runs.delete(thread_id, run_id)
    await c.get(f"/threads/{thread_id}/runs")


@scenario
async def a_thread_is_deleted_under_a_run(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.at_gate(thread_id, c.gate())
    await c.delete(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/runs/{run_id}")


@scenario
async def a_thread_is_copied_under_a_run(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    run_id = await c.at_gate(thread_id, gate)
    copied = (await c.post(f"/threads/{thread_id}/copy")).json()["thread_id"]
    await c.get(f"/threads/{copied}/runs")
    c.open(gate)
    await c.ended(thread_id, run_id)


@scenario
async def runs_are_cancelled_together(c: Caller) -> None:
    thread_id = await c.thread()
    runs = [await c.start(thread_id, "steps", input={}, after_seconds=600) for _ in range(2)]
    await c.post("/runs/cancel", {"thread_id": thread_id, "run_ids": runs})
    for run_id in runs:
        await c.ended(thread_id, run_id)
    await c.sdk.runs.list(thread_id, select=["status"])
    await c.post("/runs/cancel", {"thread_id": thread_id, "run_ids": runs})


@scenario
async def runs_are_not_cancelled_by_nonsense(c: Caller) -> None:
    thread_id = await c.thread()
    await c.post("/runs/cancel", {})
    await c.post("/runs/cancel", {"status": "asleep"})
    await c.post("/runs/cancel", {"status": "all", "thread_id": thread_id, "run_ids": [UNKNOWN]})
    await c.post("/runs/cancel", {"thread_id": thread_id})
    await c.post("/runs/cancel", {"run_ids": [UNKNOWN]})
    await c.post("/runs/cancel", {"thread_id": thread_id, "run_ids": []})
    await c.post("/runs/cancel", {"thread_id": "zzz", "run_ids": [UNKNOWN]})
    await c.post("/runs/cancel", {"thread_id": thread_id, "run_ids": [UNKNOWN]})
    await c.post("/runs/cancel?action=zzz", {"thread_id": thread_id, "run_ids": [UNKNOWN]})


@scenario_alone
async def all_pending_runs_are_cancelled(c: Caller) -> None:
    first, second = await c.thread(), await c.thread()
    runs = {thread: await c.start(thread, "steps", after_seconds=600) for thread in (first, second)}
    await c.sdk.runs.cancel_many(status="pending")
    for thread_id, run_id in runs.items():
        await c.ended(thread_id, run_id)
        await c.sdk.runs.list(thread_id, select=["status"])
    await c.refused(c.sdk.runs.cancel_many(status="all"))


@scenario
async def a_run_inherits_from_its_assistant_and_thread(c: Caller) -> None:
    assistant = await c.sdk.assistants.create(
        "configured",
        config={"tags": ["assistant"], "recursion_limit": 7},
        context={"model": "m1"},
        metadata={"mine": "assistant", "a": 1},
    )
    thread_id = await c.thread(metadata={"mine": "thread", "t": 1})
    await c.sdk.runs.wait(thread_id, assistant["assistant_id"], input={})
    await c.sdk.runs.wait(thread_id, assistant["assistant_id"], input={}, metadata={"mine": "run", "r": 1})
    await c.sdk.runs.wait(thread_id, assistant["assistant_id"], input={}, config={"tags": ["run"]})
    await c.sdk.runs.wait(thread_id, assistant["assistant_id"], input={}, context={"model": "m2"})
    config: Any = {"configurable": {"model": "m3"}, "recursion_limit": 9}
    await c.sdk.runs.wait(thread_id, assistant["assistant_id"], input={}, config=config)
    await c.sdk.runs.list(thread_id, select=["metadata", "status"])
    await c.get(f"/threads/{thread_id}")
    await c.delete(f"/assistants/{assistant['assistant_id']}")


@scenario
async def durability_decides_how_much_past_there_is(c: Caller) -> None:
    for choice in ({"durability": "sync"}, {"durability": "exit"}, {"checkpoint_during": False}):
        thread_id = await c.thread()
        await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps", "input": {"n": 1}} | choice)
        await c.post(f"/threads/{thread_id}/history", {"limit": 10})


@scenario
async def a_run_starts_at_a_checkpoint(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    past = (await c.quiet.get(f"/threads/{thread_id}/history?limit=10")).json()
    checkpoint_id = past[2]["checkpoint"]["checkpoint_id"]
    await c.sdk.runs.wait(thread_id, "steps", checkpoint_id=checkpoint_id)
    checkpoint: Any = {"checkpoint_id": checkpoint_id}
    await c.sdk.runs.wait(thread_id, "steps", input={"n": 50}, checkpoint=checkpoint)
    await c.get(f"/threads/{thread_id}/state")


@scenario
async def a_run_starts_at_an_unknown_checkpoint(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    unknown = {"checkpoint_id": "1f1e7300-0000-6000-8000-000000000000"}
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps", "checkpoint": unknown})


@scenario
async def a_run_fails_when_it_takes_too_many_steps(c: Caller) -> None:
    thread_id = await c.thread()
    body = {"assistant_id": "steps", "input": {"n": 1}, "config": {"recursion_limit": 2}}
    await c.post(f"/threads/{thread_id}/runs/wait", body)
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/state")
