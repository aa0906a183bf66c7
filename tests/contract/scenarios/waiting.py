"""Owns the calls that wait for a run's result: wait and join, with questions, answers and failures."""

from typing import Any

from threadline.tests.contract.catalogue import Caller, scenario

UNKNOWN = "01a00000-0000-7000-8000-000000000000"


@scenario
async def a_wait_returns_the_values(c: Caller) -> None:
    thread_id = await c.thread()
    await c.sdk.runs.wait(thread_id, "steps", input={"n": 1})
    await c.sdk.runs.wait(thread_id, "steps", input={"n": 10})
    await c.sdk.runs.wait(thread_id, "steps", input=None)
    await c.sdk.runs.wait(thread_id, "spreading", input={"n": 3})


@scenario
async def a_wait_returns_the_messages(c: Caller) -> None:
    thread_id = await c.thread()
    again: dict[str, Any] = {"messages": [{"role": "user", "content": "again", "id": "b"}]}
    said: dict[str, Any] = {"messages": [{"role": "user", "content": "hi", "id": "said"}]}
    await c.sdk.runs.wait(thread_id, "chat", input=said)
    await c.sdk.runs.wait(thread_id, "echo", input=again)
    await c.sdk.runs.wait(thread_id, "echo", input={"messages": "just text"})
    await c.sdk.threads.get_state(thread_id)


@scenario
async def a_question_is_told_and_answered(c: Caller) -> None:
    thread_id = await c.thread()
    await c.sdk.runs.wait(thread_id, "asking", input={"n": 1})
    await c.sdk.threads.get(thread_id)
    await c.sdk.threads.get_state(thread_id)
    await c.sdk.runs.list(thread_id, select=["status"])
    await c.sdk.runs.wait(thread_id, "asking", command={"resume": "yes"})
    await c.sdk.threads.get(thread_id)


@scenario
async def a_question_is_answered_by_its_id(c: Caller) -> None:
    thread_id = await c.thread_after("asking", input={"n": 1})
    [[asked]] = (await c.quiet.get(f"/threads/{thread_id}")).json()["interrupts"].values()
    await c.sdk.runs.wait(thread_id, "asking", command={"resume": {asked["id"]: "by id"}})


@scenario
async def two_questions_are_answered_in_turn(c: Caller) -> None:
    thread_id = await c.thread()
    await c.sdk.runs.wait(thread_id, "asking_twice", input={"n": 1})
    await c.sdk.runs.wait(thread_id, "asking_twice", command={"resume": 1})
    await c.sdk.runs.wait(thread_id, "asking_twice", command={"resume": 2})


@scenario
async def a_question_of_a_subgraph_is_answered(c: Caller) -> None:
    thread_id = await c.thread()
    await c.sdk.runs.wait(thread_id, "asking_nested", input={"n": 1})
    await c.sdk.threads.get(thread_id)
    await c.sdk.runs.wait(thread_id, "asking_nested", command={"resume": "deep"})


@scenario
async def a_command_goes_elsewhere(c: Caller) -> None:
    thread_id = await c.thread_after("asking", input={"n": 1})
    await c.sdk.runs.wait(thread_id, "asking", command={"update": {"n": 50}, "goto": "after"})
    await c.sdk.threads.get(thread_id)
    await c.sdk.threads.get_state(thread_id)
    await c.sdk.runs.wait(thread_id, "steps", command={"goto": {"node": "tell", "input": {"n": 70}}})
    await c.sdk.runs.wait(thread_id, "steps", command={"update": {"n": 80}})


@scenario
async def an_odd_command_is_told(c: Caller) -> None:
    thread_id = await c.thread()
    runs = f"/threads/{thread_id}/runs/wait"
    await c.post(runs, {"assistant_id": "asking", "command": {"resume": "too early"}})
    await c.post(runs, {"assistant_id": "steps", "input": {"n": 1}, "command": {"update": {"n": 5}}})
    await c.post(runs, {"assistant_id": "steps", "command": {}})
    await c.post(runs, {"assistant_id": "steps", "command": {"goto": "nobody"}})


@scenario
async def an_unknown_command_is_a_mistake(c: Caller) -> None:
    thread_id = await c.thread()
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps", "command": {"bogus": 1}})


@scenario
async def a_run_stops_at_breakpoints(c: Caller) -> None:
    thread_id = await c.thread()
    await c.sdk.runs.wait(thread_id, "steps", input={"n": 1}, interrupt_before=["act"])
    await c.sdk.threads.get(thread_id)
    await c.sdk.threads.get_state(thread_id)
    await c.sdk.runs.wait(thread_id, "steps", interrupt_after=["act"])
    await c.sdk.runs.wait(thread_id, "steps", interrupt_before="*")
    await c.sdk.runs.wait(thread_id, "steps")
    await c.sdk.threads.get(thread_id)


@scenario
async def a_breakpoint_at_an_unknown_node(c: Caller) -> None:
    thread_id = await c.thread()
    body = {"assistant_id": "steps", "input": {"n": 1}, "interrupt_before": ["nobody"]}
    await c.post(f"/threads/{thread_id}/runs/wait", body)


@scenario
async def a_failure_is_told(c: Caller) -> None:
    thread_id = await c.thread()
    await c.refused(c.sdk.runs.wait(thread_id, "failing", input={"n": 1}))
    await c.sdk.runs.wait(thread_id, "failing", input={"n": 1}, raise_error=False)
    await c.sdk.threads.get(thread_id)
    await c.sdk.threads.get_state(thread_id)
    await c.sdk.runs.list(thread_id, select=["status"])
    await c.sdk.runs.wait(thread_id, "steps", input={"n": 1})
    await c.sdk.threads.get(thread_id)


@scenario
async def nothing_to_start_with_is_told(c: Caller) -> None:
    thread_id = await c.thread()
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps"})
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps", "input": None})
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps", "input": "text"})
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps", "input": [1]})
    await c.post(f"/threads/{thread_id}/runs/wait", {"assistant_id": "steps", "input": {"colour": "red"}})


@scenario
async def a_run_is_joined(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    run_id = await c.at_gate(thread_id, gate)
    c.open(gate)
    await c.sdk.runs.join(thread_id, run_id)
    await c.sdk.runs.join(thread_id, run_id)


@scenario
async def a_failed_run_is_joined(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.start(thread_id, "failing", input={})
    await c.get(f"/threads/{thread_id}/runs/{run_id}/join")
    await c.get(f"/threads/{thread_id}/runs/{run_id}/join")


@scenario
async def a_run_that_asks_is_joined(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.start(thread_id, "asking", input={"n": 1})
    await c.get(f"/threads/{thread_id}/runs/{run_id}/join")


@scenario
async def a_run_that_is_nowhere_is_joined(c: Caller) -> None:
    thread_id = await c.thread()
    await c.get(f"/threads/{thread_id}/runs/{UNKNOWN}/join")
    await c.get(f"/threads/{thread_id}/runs/zzz/join")
    await c.get(f"/threads/{UNKNOWN}/runs/{UNKNOWN}/join")


@scenario
async def a_cancelled_run_is_joined(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.at_gate(thread_id, c.gate())
    await c.post(f"/threads/{thread_id}/runs/{run_id}/cancel?wait=true")
    await c.get(f"/threads/{thread_id}/runs/{run_id}/join")
    await c.get(f"/threads/{thread_id}/runs/{run_id}/stream")
