"""Owns the calls that meet another run on their thread."""

from threadline.tests.contract.catalogue import Caller, scenario


@scenario
async def a_second_run_is_rejected(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    run_id = await c.at_gate(thread_id, gate)
    second = {"assistant_id": "steps", "input": {"n": 1}, "multitask_strategy": "reject"}
    await c.refused(c.sdk.runs.create(thread_id, "steps", input={"n": 1}, multitask_strategy="reject"))
    await c.post(f"/threads/{thread_id}/runs/stream", second)
    await c.post(f"/threads/{thread_id}/runs/wait", second)
    c.open(gate)
    await c.ended(thread_id, run_id)
    await c.sdk.runs.list(thread_id, select=["status"])


@scenario
async def a_second_run_waits_for_its_turn(c: Caller) -> None:
    thread_id, first_gate, second_gate = await c.thread(), c.gate(), c.gate()
    run_id = await c.at_gate(thread_id, first_gate)
    second = await c.sdk.runs.create(thread_id, "gated", input={"gate": second_gate})
    c.open(first_gate)
    await c.get(f"/threads/{thread_id}/runs/{run_id}/join")
    c.open(second_gate)
    await c.get(f"/threads/{thread_id}/runs/{second['run_id']}/join")
    await c.sdk.runs.list(thread_id, select=["status"])


@scenario
async def a_second_run_interrupts_the_first(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    run_id = await c.at_gate(thread_id, gate)
    second = await c.sdk.runs.create(thread_id, "steps", input={"n": 1}, multitask_strategy="interrupt")
    await c.get(f"/threads/{thread_id}/runs/{second['run_id']}/join")
    await c.ended(thread_id, run_id)
    await c.sdk.runs.list(thread_id, select=["status", "multitask_strategy"])
    await c.get(f"/threads/{thread_id}")


@scenario
async def a_second_run_rolls_the_first_back(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    run_id = await c.at_gate(thread_id, gate)
    second = await c.sdk.runs.create(thread_id, "steps", input={"n": 1}, multitask_strategy="rollback")
    await c.get(f"/threads/{thread_id}/runs/{second['run_id']}/join")
    await c.ended(thread_id, run_id)
    await c.sdk.runs.list(thread_id, select=["status"])
    await c.get(f"/threads/{thread_id}/state")


@scenario
async def the_strategy_matters_only_beside_another_run(c: Caller) -> None:
    for strategy in ("reject", "interrupt", "rollback", "enqueue"):
        thread_id = await c.thread()
        body = {"assistant_id": "steps", "input": {"n": 1}, "multitask_strategy": strategy}
        await c.post(f"/threads/{thread_id}/runs/wait", body)
