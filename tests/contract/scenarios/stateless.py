"""Owns the calls for runs without a thread, and those that create several at once."""

from contextlib import suppress
from typing import Any

from threadline.tests.contract.catalogue import Caller, scenario


@scenario
async def a_run_without_a_thread_is_waited_for(c: Caller) -> None:
    await c.sdk.runs.wait(None, "steps", input={"n": 1})
    await c.refused(c.sdk.runs.wait(None, "failing", input={"n": 1}))
    await c.sdk.runs.wait(None, "asking", input={"n": 1})
    await c.post("/runs/wait", {"assistant_id": "nobody"})
    await c.post("/runs/wait", {"assistant_id": "steps", "input": {"n": 1}, "multitask_strategy": "reject"})


@scenario
async def a_run_without_a_thread_is_streamed(c: Caller) -> None:
    async for _ in c.sdk.runs.stream(None, "steps", input={"n": 1}, stream_mode="updates"):
        pass
    async for _ in c.sdk.runs.stream(None, "failing", input={"n": 1}, stream_mode="updates"):
        pass


@scenario
async def a_run_without_a_thread_is_created(c: Caller) -> None:
    run = await c.sdk.runs.create(None, "steps", input={"n": 1}, metadata={"mine": 1})
    thread_id = run["thread_id"]
    await c.ended(thread_id, run["run_id"])
    with suppress(TimeoutError):
        await c.until(f"/threads/{thread_id}", lambda thread: "detail" in thread, seconds=2)
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/runs/{run['run_id']}")


@scenario
async def a_run_without_a_thread_keeps_its_thread_when_asked(c: Caller) -> None:
    run = await c.sdk.runs.create(None, "steps", input={"n": 1}, on_completion="keep")
    thread_id = run["thread_id"]
    await c.ended(thread_id, run["run_id"])
    await c.get(f"/threads/{thread_id}")
    await c.get(f"/threads/{thread_id}/state")
    await c.delete(f"/threads/{thread_id}")


@scenario
async def a_run_without_a_thread_is_not_created_from_nonsense(c: Caller) -> None:
    await c.post_each(
        "/runs",
        {},
        [],
        {"assistant_id": 3},
        {"assistant_id": "steps", "stream_mode": 3},
        {"assistant_id": "steps", "on_completion": "burn"},
        {"assistant_id": "steps", "config": {"configurable": {"a": 1}}, "context": {"b": 1}},
    )


@scenario
async def several_runs_are_created_at_once(c: Caller) -> None:
    wanted: Any = [
        {"assistant_id": "steps", "input": {"n": 1}, "metadata": {"number": 1}},
        {"assistant_id": "echo", "input": {"messages": "hi"}, "metadata": {"number": 2}},
    ]
    runs = await c.sdk.runs.create_batch(wanted)
    assert len(runs) == 2
    await c.post("/runs/batch", [])
    await c.post("/runs/batch", {})
    await c.post("/runs/batch", [{"assistant_id": "steps"}, {"assistant_id": "nobody"}])
    await c.post("/runs/batch", [{}])
