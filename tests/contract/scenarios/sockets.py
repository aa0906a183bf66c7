"""Owns the calls of the event-streaming protocol over a WebSocket: commands, their answers, and events between them."""

from typing import Any
from uuid import uuid4

from threadline.tests.contract.catalogue import Caller, scenario

CHANNELS = ["values", "lifecycle", "input"]


def path() -> str:
    return f"/threads/{uuid4()}/stream/events"


def command(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"id": number, "method": method, "params": params}


def start(number: int, graph: str, **params: Any) -> dict[str, Any]:
    return command(number, "run.start", assistant_id=graph, **params)


def has_ended(frames: list[Any]) -> bool:
    """Whether the root of a run has told its end, and its command was answered."""
    ends = [
        frame
        for frame in frames
        if frame.get("method") == "lifecycle"
        and frame["params"]["namespace"] == []
        and frame["params"]["data"]["event"] in ("completed", "failed", "interrupted")
    ]
    return bool(ends) and any(frame.get("type") == "success" and "run_id" in frame["result"] for frame in frames)


def answered(*numbers: Any) -> Any:
    """Whether commands were answered."""
    return lambda frames: {*numbers} <= {frame.get("id", "none") for frame in frames}


@scenario
async def a_socket_subscribes_and_unsubscribes(c: Caller) -> None:
    await c.speak(path(), command(1, "subscription.subscribe", channels=CHANNELS), until=answered(1))
    await c.speak(path(), command(1, "subscription.unsubscribe", subscription_id="zz"), until=answered(1))


@scenario
async def nonsense_on_a_socket_is_answered_in_its_words(c: Caller) -> None:
    none = "none"
    for frame in ("{broken", "[]", '"text"', '{"method": "run.start"}', '{"id": "x", "method": "run.start"}'):
        await c.speak(path(), frame, until=lambda frames: bool(frames))
    for method, params in (
        ("dance", {}),
        ("subscription.subscribe", {"channels": []}),
        ("subscription.subscribe", {"channels": ["zzz"]}),
        ("subscription.subscribe", {none: 1}),
        ("run.start", {}),
        ("input.respond", {"namespace": [], "interrupt_id": "zz", "response": 1}),
    ):
        await c.speak(path(), command(1, method, **params), until=answered(1))


@scenario
async def a_run_is_started_and_followed_on_a_socket(c: Caller) -> None:
    frames = (command(1, "subscription.subscribe", channels=CHANNELS), start(2, "steps", input={"n": 1}))
    await c.speak(path(), *frames, until=has_ended)


@scenario
async def a_failed_run_tells_a_socket(c: Caller) -> None:
    frames = (command(1, "subscription.subscribe", channels=CHANNELS), start(2, "failing", input={"n": 1}))
    await c.speak(path(), *frames, until=has_ended)


@scenario
async def a_question_reaches_a_socket(c: Caller) -> None:
    frames = (command(1, "subscription.subscribe", channels=CHANNELS), start(2, "asking", input={"n": 1}))
    await c.speak(path(), *frames, until=has_ended)


@scenario
async def a_socket_follows_what_was_started_before(c: Caller) -> None:
    thread_id = await c.thread_after("steps", input={"n": 1})
    place = f"/threads/{thread_id}/stream/events"
    subscribe = command(1, "subscription.subscribe", channels=["lifecycle"])
    frames = (subscribe, start(2, "steps", input={"n": 2}))
    await c.speak(place, *frames, until=has_ended)


@scenario
async def a_socket_of_no_thread_is_refused(c: Caller) -> None:
    await c.speak("/threads/zzz/stream/events", command(1, "dance"), until=answered(1))
