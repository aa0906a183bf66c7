"""The event-streaming protocol over a WebSocket: subscriptions, commands, breaks, and frames that are none."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from threadline.runs.encoding import encode
from threadline.tests.api.event_world import ALL, Event, Thread, data, is_end, of, parse


@pytest.fixture
def thread(http: httpx.Client) -> Thread:
    return Thread(http)


@pytest.fixture
def socket(url: str, thread: Thread) -> Iterator[ClientConnection]:
    """A connection to the thread, which has no run yet."""
    with connect(f"{url.replace('http', 'ws')}/threads/{thread.id}/stream/events") as made:
        yield made


def send(socket: ClientConnection, number: int, method: str, **params: Any) -> None:
    socket.send(encode({"id": number, "method": method, "params": params}).decode())


def frames(socket: ClientConnection) -> Iterator[Event]:
    while True:
        yield parse(socket.recv(10))


def until_answer(socket: ClientConnection, number: int | None) -> tuple[list[Event], Event]:
    """Return the events that come before the answer of that number, and the answer."""
    events: list[Event] = []
    while True:
        message = parse(socket.recv(10))
        if message["type"] != "event":
            assert message["id"] == number
            return events, message
        events.append(message)


def until_end(socket: ClientConnection, runs: int = 1) -> list[Event]:
    """Return the events up to the end of a run, whatever answers come between."""
    events: list[Event] = []
    while runs:
        message = parse(socket.recv(10))
        if message["type"] == "event":
            events.append(message)
            runs -= is_end(message)
    return events


def test_a_client_that_drops_its_socket_after_every_event_sees_each_exactly_once(url: str, thread: Thread) -> None:
    thread.start("streamed_nested", {"topic": "x"})
    seen: list[Event] = []
    while not seen or not is_end(seen[-1]):
        with connect(f"{url.replace('http', 'ws')}/threads/{thread.id}/stream/events", close_timeout=0) as socket:
            send(socket, 1, "subscription.subscribe", channels=ALL, since=seen[-1]["seq"] if seen else 0)
            seen.append(next(message for message in frames(socket) if message["type"] == "event"))
    assert seen == thread.read()


def test_runs_are_started_and_followed_on_one_connection(thread: Thread, socket: ClientConnection) -> None:
    send(socket, 1, "subscription.subscribe", channels=["lifecycle", "input"])
    assert until_answer(socket, 1)[1]["result"]["replayed_events"] == 0
    send(socket, 2, "run.start", assistant_id="streamed_asking", input={"topic": "sure?"})
    events = until_end(socket)
    assert [event["method"] for event in events] == ["lifecycle", "input.requested", "lifecycle"]
    question = data(events[1])["interrupt_id"]
    send(socket, 3, "input.respond", namespace=[], interrupt_id=question, response="yes")
    assert [data(event)["event"] for event in until_end(socket)] == ["running", "completed"]
    send(socket, 4, "agent.getTree")
    answer = until_answer(socket, 4)[1]
    assert answer["result"]["tree"]["status"] == "completed"
    assert answer["meta"]["applied_through_seq"] > events[-1]["seq"]


def test_a_later_subscription_is_told_what_it_missed(thread: Thread, socket: ClientConnection) -> None:
    thread.start("streamed_talking", {"topic": "x"})
    expected = thread.read()
    send(socket, 1, "subscription.subscribe", channels=["lifecycle"])
    until_end(socket)
    send(socket, 2, "subscription.subscribe", channels=["values"], since=expected[0]["seq"])
    events, answer = until_answer(socket, 2)
    assert events == [event for event in expected if event["method"] == "values"]
    assert answer["result"]["replayed_events"] == len(events)


def test_an_event_that_two_subscriptions_want_is_sent_once(thread: Thread, socket: ClientConnection) -> None:
    for number, channels in ((1, ["lifecycle", "values"]), (2, ["values", "updates", "lifecycle"])):
        send(socket, number, "subscription.subscribe", channels=channels)
        until_answer(socket, number)
    thread.start("streamed_talking", {"topic": "x"})
    assert until_end(socket) == thread.read(["lifecycle", "values", "updates"])


def test_what_is_unsubscribed_is_sent_no_more(thread: Thread, socket: ClientConnection) -> None:
    send(socket, 1, "subscription.subscribe", channels=["lifecycle"])
    until_answer(socket, 1)
    send(socket, 2, "subscription.subscribe", channels=["values"])
    values = until_answer(socket, 2)[1]["result"]["subscription_id"]
    send(socket, 3, "subscription.unsubscribe", subscription_id=values)
    assert until_answer(socket, 3)[1]["result"] == {}
    thread.start("streamed_talking", {"topic": "x"})
    assert of(until_end(socket), "values") == []
    send(socket, 4, "subscription.unsubscribe", subscription_id=values)
    assert until_answer(socket, 4)[1]["error"] == "no_such_subscription"


def test_a_subscription_is_restored_behind_the_last_event(thread: Thread, socket: ClientConnection) -> None:
    thread.start("streamed_talking", {"topic": "x"})
    expected = thread.read(["values", "lifecycle"])
    last = next(event for event in expected if event["method"] == "values")
    channels = ["values", "lifecycle"]
    send(socket, 1, "subscription.reconnect", channels=channels, last_event_id=last["event_id"])
    assert until_answer(socket, 1)[1]["result"]["restored"] is True
    assert until_end(socket) == [event for event in expected if event["seq"] > last["seq"]]
    send(socket, 2, "subscription.reconnect", channels=channels, since=last["seq"])
    events, answer = until_answer(socket, 2)
    assert answer["result"]["missed_events"] == len(events)
    assert events == [event for event in expected if event["seq"] > last["seq"]]


@pytest.mark.parametrize(
    ("frame", "number"),
    [
        ("garbage", None),
        ("[]", None),
        ('{"id": 1}', 1),
        (b'{"method": "run.start"}', None),
        ('{"id": 5, "method": "subscription.subscribe"}', 5),
        ('{"id": 5, "method": "subscription.subscribe", "params": {"channels": ["zzz"]}}', 5),
        ('{"id": 5, "method": "subscription.subscribe", "params": {"channels": ["values"], "since": -1}}', 5),
        ('{"id": 5, "method": "subscription.reconnect", "params": {"channels": ["values"]}}', 5),
        ('{"id": 5, "method": "run.start"}', 5),
    ],
)
def test_a_frame_that_is_no_command_is_answered_so(
    socket: ClientConnection, frame: str | bytes, number: int | None
) -> None:
    socket.send(frame)
    answer = until_answer(socket, number)[1]
    assert (answer["type"], answer["error"]) == ("error", "invalid_argument")
    send(socket, 6, "zzz")
    assert until_answer(socket, 6)[1]["error"] == "unknown_command"


def test_a_deleted_thread_closes_its_sockets(thread: Thread, socket: ClientConnection) -> None:
    thread.start("streamed_talking", {})
    send(socket, 1, "subscription.subscribe", channels=["lifecycle"])
    until_end(socket)
    thread.http.delete(f"/threads/{thread.id}")
    last = parse(socket.recv(10))
    assert (last["type"], last["id"]) == ("error", None)
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4410


def test_a_socket_needs_the_id_of_a_thread(url: str) -> None:
    with connect(f"{url.replace('http', 'ws')}/threads/nobody/stream/events") as socket:
        assert "must be a UUID" in parse(socket.recv(10))["message"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4422
