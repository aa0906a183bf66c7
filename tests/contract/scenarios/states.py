"""Owns the calls on a thread's state: read it, read its past, change it, fork it."""

from threadline.tests.contract.catalogue import Caller, scenario

UNKNOWN = "1f1e7300-0000-6000-8000-000000000000"


@scenario
async def a_fresh_thread_has_an_empty_state(c: Caller) -> None:
    thread_id = await c.thread()
    await c.sdk.threads.get_state(thread_id)
    await c.sdk.threads.get_history(thread_id)
    await c.post(f"/threads/{thread_id}/history", {"limit": 10})


@scenario
async def a_state_is_read_after_a_run(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    await c.sdk.threads.get_state(thread_id)
    await c.sdk.threads.get_state(thread_id, subgraphs=True)
    await c.get(f"/threads/{thread_id}/state?subgraphs=perhaps")


@scenario
async def a_past_is_read(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    await c.sdk.threads.get_history(thread_id, limit=10)
    past = (await c.get(f"/threads/{thread_id}/history?limit=10")).json()
    await c.get(f"/threads/{thread_id}/history")
    await c.get(f"/threads/{thread_id}/history?limit=2")
    before = past[2]["checkpoint"]["checkpoint_id"]
    await c.get(f"/threads/{thread_id}/history?limit=10&before={before}")
    await c.post(f"/threads/{thread_id}/history", {})
    await c.post(f"/threads/{thread_id}/history", {"limit": 10, "metadata": {"source": "input"}})
    await c.post(f"/threads/{thread_id}/history", {"limit": 10, "metadata": {"step": 1}})
    await c.post(f"/threads/{thread_id}/history", {"limit": 10, "before": {"configurable": {"checkpoint_id": before}}})
    await c.post(f"/threads/{thread_id}/history", {"limit": 10, "before": {"checkpoint_id": before}})
    await c.post(f"/threads/{thread_id}/history", {"limit": 10, "before": before})


@scenario
async def a_past_is_not_read_by_nonsense(c: Caller) -> None:
    thread_id = await c.thread()
    await c.get(f"/threads/{thread_id}/history?limit=x")
    await c.get(f"/threads/{thread_id}/history?limit=0")
    await c.get(f"/threads/{thread_id}/history?limit=1001")
    await c.post(f"/threads/{thread_id}/history", {"limit": 0})
    await c.post(f"/threads/{thread_id}/history", {"limit": 1001})
    await c.post(f"/threads/{thread_id}/history", {"limit": "x"})
    await c.post(f"/threads/{thread_id}/history", {"metadata": 3})
    await c.post(f"/threads/{thread_id}/history", [])
    await c.get("/threads/zzz/history")
    await c.post("/threads/zzz/history", {})
    await c.get("/threads/zzz/state")


@scenario
async def a_state_is_read_at_a_checkpoint(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    past = (await c.get(f"/threads/{thread_id}/history?limit=10")).json()
    checkpoint = past[2]["checkpoint"]
    await c.get(f"/threads/{thread_id}/state/{checkpoint['checkpoint_id']}")
    await c.sdk.threads.get_state(thread_id, checkpoint=checkpoint)
    await c.post(f"/threads/{thread_id}/state/checkpoint", {"checkpoint": checkpoint, "subgraphs": True})
    await c.post(f"/threads/{thread_id}/state/checkpoint", {})
    await c.post(f"/threads/{thread_id}/state/checkpoint", {"checkpoint": "zzz"})
    await c.post(f"/threads/{thread_id}/state/checkpoint", {"checkpoint": 3})


@scenario
async def a_state_at_an_unknown_checkpoint(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    await c.get(f"/threads/{thread_id}/state/{UNKNOWN}")
    await c.get(f"/threads/{thread_id}/state/zzz")
    await c.post(f"/threads/{thread_id}/state/checkpoint", {"checkpoint": {"checkpoint_id": UNKNOWN}})


@scenario
async def a_state_of_subgraphs_is_read(c: Caller) -> None:
    thread_id = await c.thread_after("asking_nested", input={"n": 1})
    await c.sdk.threads.get_state(thread_id)
    state = await c.sdk.threads.get_state(thread_id, subgraphs=True)
    await c.post(f"/threads/{thread_id}/history", {"limit": 10})
    inner = (await c.quiet.get(f"/threads/{thread_id}/state")).json()["tasks"][0]["checkpoint"]
    await c.post(f"/threads/{thread_id}/state/checkpoint", {"checkpoint": inner})
    assert state["next"] == ["inner"]


@scenario
async def a_state_is_updated(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    await c.sdk.threads.update_state(thread_id, {"n": 10, "log": ["me"]})
    await c.get(f"/threads/{thread_id}/state")
    await c.sdk.threads.update_state(thread_id, {"n": 20}, as_node="plan")
    await c.get(f"/threads/{thread_id}/state")
    await c.get(f"/threads/{thread_id}")
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps"})
    await c.get(f"/threads/{thread_id}")


@scenario
async def a_state_is_not_updated_by_nonsense(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    await c.post(f"/threads/{thread_id}/state", {"values": {"n": 1}, "as_node": "nobody"})
    await c.post(f"/threads/{thread_id}/state", {"values": {"colour": "red"}, "as_node": "plan"})
    await c.post(f"/threads/{thread_id}/state", {"values": "x"})
    await c.post(f"/threads/{thread_id}/state", {"values": {"n": 1}, "as_node": 3})
    await c.post(f"/threads/{thread_id}/state", [])
    await c.post("/threads/zzz/state", {"values": {}})
    fresh = await c.thread()
    await c.refused(c.sdk.threads.update_state(fresh, {"n": 1}))


@scenario
async def a_state_is_updated_by_a_list_of_values(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    await c.post(f"/threads/{thread_id}/state", {"values": [{"n": 1}], "as_node": "plan"})


@scenario
async def a_state_is_ended_by_an_update(c: Caller) -> None:
    thread_id = await c.thread_after("asking", input={"n": 1})
    await c.post(f"/threads/{thread_id}/state", {"values": None, "as_node": "__end__"})
    await c.get(f"/threads/{thread_id}/state")
    await c.get(f"/threads/{thread_id}")


@scenario
async def a_state_is_copied_by_an_update(c: Caller) -> None:
    thread_id = await c.thread_after("asking", input={"n": 1})
    await c.post(f"/threads/{thread_id}/state", {"values": None, "as_node": "__copy__"})
    await c.get(f"/threads/{thread_id}/state")


@scenario
async def an_update_at_a_checkpoint_is_a_fork(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    past = (await c.quiet.get(f"/threads/{thread_id}/history?limit=10")).json()
    checkpoint = past[1]["checkpoint"]
    await c.sdk.threads.update_state(thread_id, {"n": 100}, checkpoint=checkpoint)
    await c.get(f"/threads/{thread_id}/state")
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps"})
    await c.post(f"/threads/{thread_id}/state", {"values": {"n": 7}, "checkpoint_id": checkpoint["checkpoint_id"]})
    await c.post(f"/threads/{thread_id}/history", {"limit": 20})


@scenario
async def an_interrupted_state_is_updated(c: Caller) -> None:
    thread_id = await c.thread_after("asking", input={"n": 1})
    await c.get(f"/threads/{thread_id}/state")
    await c.post(f"/threads/{thread_id}/state", {"values": {"log": ["by hand"]}, "as_node": "ask"})
    await c.get(f"/threads/{thread_id}/state")
    await c.get(f"/threads/{thread_id}")


@scenario
async def the_state_of_a_failed_run_is_read(c: Caller) -> None:
    thread_id = await c.thread()
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "failing_late", "input": {"n": 1}})
    await c.get(f"/threads/{thread_id}/state")
    await c.get(f"/threads/{thread_id}")
    await c.post(f"/threads/{thread_id}/history", {"limit": 10})


@scenario
async def a_state_is_not_updated_while_a_run_writes_it(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    run_id = await c.at_gate(thread_id, gate)
    await c.post(f"/threads/{thread_id}/state", {"values": {"n": 1}})
    await c.get(f"/threads/{thread_id}/state")
    c.open(gate)
    await c.ended(thread_id, run_id)
