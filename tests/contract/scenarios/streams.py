"""Owns the calls that stream a run: every mode, subgraphs, questions, failures, joining and resuming."""

from typing import Any

from threadline.tests.contract.catalogue import Caller, scenario
from threadline.tests.contract.exchanges import Exchange

UNKNOWN = "01a00000-0000-7000-8000-000000000000"
MODES = ("values", "updates", "messages", "messages-tuple", "custom", "tasks", "checkpoints", "debug", "events")
SAID: dict[str, Any] = {"messages": [{"role": "user", "content": "hi", "id": "said"}]}


async def stream(c: Caller, graph: str, mode: Any, **body: Any) -> str:
    """Stream a run on a new thread with the official client, to its end; return the thread."""
    thread_id = await c.thread()
    body.setdefault("input", {"n": 1})
    async for _ in c.sdk.runs.stream(thread_id, graph, stream_mode=mode, **body):
        pass
    return thread_id


@scenario
async def values_are_streamed(c: Caller) -> None:
    for graph in ("steps", "asking", "failing", "failing_late", "nested", "spreading"):
        await stream(c, graph, "values")
    await stream(c, "chat", "values", input=SAID)


@scenario
async def updates_are_streamed(c: Caller) -> None:
    for graph in ("steps", "asking", "failing_late", "nested"):
        await stream(c, graph, "updates")
    await stream(c, "chat", "updates", input=SAID)


@scenario
async def messages_are_streamed(c: Caller) -> None:
    await stream(c, "chat", "messages", input=SAID)
    await stream(c, "echo", "messages", input=SAID)
    await stream(c, "chat", "messages-tuple", input=SAID)
    await stream(c, "echo", "messages-tuple", input=SAID)
    await stream(c, "steps", "messages")


@scenario
async def custom_events_are_streamed(c: Caller) -> None:
    await stream(c, "ticking", "custom", input={"n": 3})
    await stream(c, "steps", "custom")


@scenario
async def tasks_are_streamed(c: Caller) -> None:
    for graph in ("steps", "asking", "failing"):
        await stream(c, graph, "tasks")


@scenario
async def checkpoints_are_streamed(c: Caller) -> None:
    for graph in ("steps", "asking"):
        await stream(c, graph, "checkpoints")


@scenario
async def debug_events_are_streamed(c: Caller) -> None:
    for graph in ("steps", "asking"):
        await stream(c, graph, "debug")


@scenario
async def langchain_events_are_streamed(c: Caller) -> None:
    await stream(c, "steps", "events")
    await stream(c, "chat", "events", input=SAID)


@scenario
async def several_modes_are_streamed_together(c: Caller) -> None:
    await stream(c, "steps", ["values", "updates", "tasks", "checkpoints"])
    await stream(c, "chat", ["messages", "messages-tuple", "updates"], input=SAID)
    await stream(c, "ticking", ["custom", "values"], input={"n": 2})
    await stream(c, "asking", ["values", "updates"])
    await stream(c, "steps", [])
    await stream(c, "steps", ["values", "values"])


@scenario
async def subgraphs_are_streamed(c: Caller) -> None:
    for mode in ("values", "updates", "custom", "tasks", "checkpoints", "debug"):
        await stream(c, "nested", mode, stream_subgraphs=True)
    await stream(c, "asking_nested", ["values", "updates"], stream_subgraphs=True)
    await stream(c, "nested", "events", stream_subgraphs=True)


@scenario
async def breakpoints_are_streamed(c: Caller) -> None:
    await stream(c, "steps", ["values", "updates"], interrupt_before=["act"])
    await stream(c, "steps", ["values", "updates"], interrupt_after=["plan"])


@scenario
async def an_answer_is_streamed(c: Caller) -> None:
    thread_id = await c.thread_after("asking", input={"n": 1})
    modes: Any = ["values", "updates"]
    async for _ in c.sdk.runs.stream(thread_id, "asking", command={"resume": "yes"}, stream_mode=modes):
        pass


@scenario
async def a_stream_is_not_started_by_nonsense(c: Caller) -> None:
    thread_id = await c.thread()
    await c.post(f"/threads/{thread_id}/runs/stream", {"assistant_id": "nobody"})
    await c.post(f"/threads/{thread_id}/runs/stream", {"assistant_id": "steps", "stream_mode": "colours"})
    await c.post(f"/threads/{UNKNOWN}/runs/stream", {"assistant_id": "steps"})
    await c.post("/runs/stream", {"assistant_id": "nobody"})
    await c.post(f"/threads/{thread_id}/runs/stream", {})


@scenario
async def a_resumable_stream_numbers_its_events(c: Caller) -> None:
    await stream(c, "steps", "updates", stream_resumable=True)


@scenario
async def a_resumable_stream_is_replayed(c: Caller) -> None:
    thread_id = await c.thread()
    run_id = await c.start(thread_id, "steps", input={"n": 1}, stream_resumable=True, stream_mode=["updates", "values"])
    await c.ended(thread_id, run_id)
    path = f"/threads/{thread_id}/runs/{run_id}/stream"
    for place in ("-", "-1"):
        await c.get(path, headers={"last-event-id": place})
    first = (await c.quiet.get(path, headers={"last-event-id": "-"})).text
    ids = [line.removeprefix("id: ") for line in first.splitlines() if line.startswith("id: ")]
    for event_id in (ids[0], ids[2], ids[-1]):
        await c.get(path, headers={"last-event-id": event_id})
    await c.get(f"{path}?stream_mode=updates", headers={"last-event-id": "-"})
    await c.get(f"{path}?stream_mode=custom", headers={"last-event-id": "-"})
    await c.get(path, headers={"last-event-id": "nonsense"})
    await c.get(f"{path}?stream_mode=colours", headers={"last-event-id": "-"})


@scenario
async def a_run_is_followed_while_it_goes_on(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    run_id = await c.start(thread_id, "gated", input={"gate": gate}, stream_resumable=True, stream_mode=["updates"])
    c.open(gate)
    await c.get(f"/threads/{thread_id}/runs/{run_id}/stream", headers={"last-event-id": "-"})


@scenario
async def an_ended_run_is_followed(c: Caller) -> None:
    thread_id = await c.thread()
    for graph in ("steps", "failing", "asking"):
        run_id = await c.start(thread_id, graph, input={"n": 1})
        await c.ended(thread_id, run_id)
        await c.get(f"/threads/{thread_id}/runs/{run_id}/stream")


@scenario
async def a_run_that_is_nowhere_is_followed(c: Caller) -> None:
    thread_id = await c.thread()
    await c.get(f"/threads/{thread_id}/runs/{UNKNOWN}/stream")
    await c.get(f"/threads/{thread_id}/runs/zzz/stream")


@scenario
async def a_cancelled_run_ends_its_stream(c: Caller) -> None:
    thread_id = await c.thread()
    body = {"assistant_id": "gated", "input": {"gate": c.gate()}, "stream_mode": ["custom", "updates"]}
    async with c.http.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as answer:
        run_id = answer.headers["content-location"].rsplit("/", 1)[1]
        exchange = c.transport.exchanges[-1]
        cancelled = False
        async for _ in answer.aiter_raw():
            if not cancelled and b"gate" in exchange.received:
                cancelled = (await c.quiet.post(f"/threads/{thread_id}/runs/{run_id}/cancel")).status_code == 202
    await c.ended(thread_id, run_id)
    await c.sdk.runs.list(thread_id, select=["status"])


@scenario
async def a_stream_that_is_dropped_may_cancel_its_run(c: Caller) -> None:
    for choice in ("cancel", "continue"):
        thread_id, gate = await c.thread(), c.gate()
        body = {"assistant_id": "gated", "input": {"gate": gate}, "stream_mode": "custom", "on_disconnect": choice}
        async with c.quiet.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as answer:
            run_id = answer.headers["content-location"].rsplit("/", 1)[1]
            async for chunk in answer.aiter_raw():
                if b"gate" in chunk:
                    break
        if choice == "continue":
            c.open(gate)
        await c.ended(thread_id, run_id)
        await c.sdk.runs.list(thread_id, select=["status"])
        await c.until(f"/threads/{thread_id}", lambda thread: thread["status"] != "busy")
        await c.get(f"/threads/{thread_id}")


@scenario
async def a_thread_is_followed(c: Caller) -> None:
    thread_id = await c.thread()

    async def follow(query: str, ends: int, **headers: str) -> None:
        path = f"/threads/{thread_id}/stream{query}"

        def has_ended(exchange: Exchange) -> bool:
            return exchange.received.count(b"run_done") >= ends

        await c.events(path, until=has_ended, headers=headers)

    run_id = await c.start(thread_id, "steps", input={"n": 1}, stream_resumable=True, stream_mode="updates")
    await c.ended(thread_id, run_id)
    await follow("", 1, **{"last-event-id": "-"})
    await follow("?stream_modes=lifecycle", 1, **{"last-event-id": "-"})
    await c.get(f"/threads/{thread_id}/stream?stream_modes=colours")


@scenario
async def a_run_with_a_gate_streams_what_follows(c: Caller) -> None:
    thread_id, gate = await c.thread(), c.gate()
    run_id = await c.at_gate(thread_id, gate)
    path = f"/threads/{thread_id}/runs/{run_id}/stream"
    async with c.http.stream("GET", path) as answer:
        c.open(gate)
        async for _ in answer.aiter_raw():
            pass
