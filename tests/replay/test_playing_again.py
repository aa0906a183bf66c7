"""A stored run played again: what live clients saw, event for event, at a pace, from any place, without executing."""

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from threadline.graphs.registry import Registry
from threadline.replay.pace import Pace, read_speed
from threadline.runs.errors import Invalid
from threadline.tests.replay.conftest import Past, serve_past
from threadline.tests.replay.frames import Event, events_of, frames_of

RUNS = 200
MODES = ("values", "updates", "messages", "messages-tuple", "custom", "tasks", "checkpoints", "debug")


def path_of(thread_id: str, run_id: str) -> str:
    return f"/threads/{thread_id}/runs/{run_id}"


def replayed(past: Past, thread_id: str, run_id: str, **parameters: Any) -> bytes:
    return past.http.get(f"{path_of(thread_id, run_id)}/events", params=parameters).raise_for_status().content


def watch(past: Past, thread_id: str, body: Any, interfere: Any = None) -> tuple[str, list[bytes]]:
    """Run and watch, as a client does; `interfere` is called once, with the run, when its first node is done."""
    received = b""
    with (
        httpx.Client(base_url=past.http.base_url, timeout=60) as http,
        http.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as stream,
    ):
        run_id = stream.headers["content-location"].rpartition("/")[2]
        for chunk in stream.iter_bytes():
            received += chunk
            if interfere and b'"first"' in received:
                interfere(http, thread_id, run_id)
                interfere = None
    return run_id, frames_of(received)


class Generated:
    """One generated run after the other, watched live."""

    def __init__(self, past: Past) -> None:
        self.past = past
        self.seen: list[tuple[str, str, list[bytes]]] = []
        self.kinds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def make(self, number: int) -> None:
        chance = random.Random(number)
        kind = ("steps", "talking", "asking", "nested", "parallel", "failing", "cancelled", "rolled back", "killed")[
            number % 9
        ]
        thread_id = self.past.thread()
        body: dict[str, Any] = {
            "assistant_id": "waiting" if kind in {"cancelled", "rolled back", "killed"} else kind,
            "input": {"messages": ["hello"]} if kind == "talking" else {"log": ["in"]},
            "stream_mode": chance.sample(MODES, chance.randint(1, len(MODES))),
            "stream_subgraphs": chance.random() < 0.5,
            "durability": chance.choice(["sync", "async", "exit"]) if kind != "killed" else "sync",
        }
        if kind in {"cancelled", "rolled back", "killed"}:
            body["stream_mode"] = sorted({*body["stream_mode"], "updates", "values"})
        self._add(
            kind, thread_id, *watch(self.past, thread_id, body, getattr(self, f"_{kind}".replace(" ", "_"), None))
        )
        if kind in {"asking", "nested", "parallel"}:
            answer = body | {"input": None, "command": {"resume": chance.choice(["yes", {"no": [1]}])}}
            self._add(f"{kind}, answered", thread_id, *watch(self.past, thread_id, answer))

    def _add(self, kind: str, thread_id: str, run_id: str, frames: list[bytes]) -> None:
        with self._lock:
            self.seen.append((thread_id, run_id, frames))
            self.kinds[kind] += 1

    def _cancelled(self, http: httpx.Client, thread_id: str, run_id: str) -> None:
        http.post(f"{path_of(thread_id, run_id)}/cancel")

    def _rolled_back(self, http: httpx.Client, thread_id: str, run_id: str) -> None:
        http.post(f"{path_of(thread_id, run_id)}/cancel?action=rollback")

    def _killed(self, http: httpx.Client, thread_id: str, run_id: str) -> None:
        """Let its process die, as the others see it; the second attempt is cancelled once it has begun."""
        with psycopg.connect(self.past.dsn, autocommit=True) as connection:
            with connection.transaction():
                connection.execute("update thread_heads set epoch = epoch + 1 where thread_id = %s", [thread_id])
                connection.execute("update runs set process_id = %s where run_id = %s", [uuid4(), run_id])
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                row = connection.execute("select attempt from runs where run_id = %s", [run_id]).fetchone()
                if row and row[0] >= 2:
                    break
                time.sleep(0.02)
        http.post(f"{path_of(thread_id, run_id)}/cancel")


@pytest.mark.slow  # two hundred runs, sixteen processes that die
def test_two_hundred_generated_runs_play_again_as_their_clients_saw_them(dsn: str, registry: Registry) -> None:
    short = {"lease": timedelta(seconds=0.6), "lease_renew": timedelta(seconds=0.1), "poll": timedelta(seconds=0.1)}
    with serve_past(dsn, registry, **short) as past:
        generated = Generated(past)
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(generated.make, range(RUNS * 3 // 4)))
        assert len(generated.seen) >= RUNS
        assert min(generated.kinds.values()) >= 10, generated.kinds
        threads = {thread_id for thread_id, _, _ in generated.seen}
        before = past.bytes_of(*threads)
        attempts = Counter[int]()
        for thread_id, run_id, frames in generated.seen:
            assert frames, run_id
            assert frames_of(replayed(past, thread_id, run_id, speed="max")) == frames
            attempts[sum(frame.startswith(b"event: metadata") for frame in frames)] += 1
        assert attempts[2] >= 10
        assert past.bytes_of(*threads) == before


def test_a_replay_begins_at_the_event_that_is_asked_for(past: Past) -> None:
    thread_id, run_id, _ = past.run("steps", stream_mode=["values", "updates"])
    whole = events_of(replayed(past, thread_id, run_id))
    assert len(whole) > 3
    middle = whole[2].id
    assert events_of(replayed(past, thread_id, run_id, from_seq=middle)) == whole[2:]
    resumed = past.http.get(f"{path_of(thread_id, run_id)}/events", headers={"last-event-id": str(middle)})
    assert events_of(resumed.content) == whole[3:]
    everything = past.http.get(f"{path_of(thread_id, run_id)}/events", headers={"last-event-id": "-"})
    assert events_of(everything.content) == whole
    assert events_of(replayed(past, thread_id, run_id, from_seq=10_000)) == []


def test_a_replay_shows_one_run_of_a_thread_only(past: Past) -> None:
    thread_id, first_id, _ = past.run("steps")
    _, second_id, _ = past.run("steps", thread_id)
    first, second = events_of(replayed(past, thread_id, first_id)), events_of(replayed(past, thread_id, second_id))
    assert (first[0].data["run_id"], second[0].data["run_id"]) == (first_id, second_id)
    assert first[-1].id < second[0].id


def test_internal_events_tell_of_attempts_workers_nodes_tokens_and_the_end(past: Past) -> None:
    thread_id, run_id, values = past.run("talking", input={"messages": ["hello"]}, stream_mode=["updates"])
    events = events_of(replayed(past, thread_id, run_id, include="internal"))
    assert [event.name for event in events] == [
        "metadata",
        "attempt_started",
        "node_started",
        "updates",
        "node_finished",
        "run_ended",
    ]
    by_name = {event.name: event.data for event in events}
    assert by_name["metadata"] == {"run_id": run_id, "attempt": 1}
    opening = by_name["attempt_started"]
    assert (opening["attempt"], opening["graph_id"]) == (1, "talking")
    [(name,)] = past.rows("select name from processes where process_id = %s", opening["process_id"])
    assert opening["worker"] == name
    assert by_name["node_finished"]["usage"]["total_tokens"] == 10
    assert by_name["run_ended"] == values


def test_a_run_that_fails_before_any_node_still_tells_who_tried_it(past: Past) -> None:
    thread_id, run_id, _ = past.run("steps", input={"log": "no list"})
    names = [event.name for event in events_of(replayed(past, thread_id, run_id, include="internal"))]
    assert names.count("attempt_started") == 1
    assert names[-1] == "run_ended"


def test_the_events_of_a_replay_come_as_far_apart_as_recorded(dsn: str, registry: Registry) -> None:
    with serve_past(dsn, registry) as past:
        thread_id, run_id, _ = past.run("steps", stream_mode=["values"])
    spread(past, thread_id, run_id, seconds=0.4)
    with serve_past(dsn, registry) as past:  # one that has not kept the recent rows in memory
        count = len(events_of(replayed(past, thread_id, run_id)))
        assert 0.4 * (count - 1) <= timed(past, thread_id, run_id, speed="1") < 0.4 * count + 2
        assert 0.1 * (count - 1) <= timed(past, thread_id, run_id, speed="4") < 0.4 * (count - 1)
        assert timed(past, thread_id, run_id, speed="1", max_gap_ms=20) < 0.4


def spread(past: Past, thread_id: str, run_id: str, seconds: float) -> None:
    """Let the run have taken so long between any two of its events."""
    rows = past.rows("select last_seq, contents from run_events where run_id = %s order by 1", run_id)
    moment = 1_700_000_000_000_000
    for last_seq, contents in rows:
        for content in contents:
            content[2] = moment
            moment += 0 if content[0].startswith(".") else int(seconds * 1_000_000)
        past.rows(
            "update run_events set contents = %s where thread_id = %s and last_seq = %s",
            json.dumps(contents),
            thread_id,
            last_seq,
        )


def timed(past: Past, thread_id: str, run_id: str, **parameters: Any) -> float:
    begin = time.monotonic()
    replayed(past, thread_id, run_id, **parameters)
    return time.monotonic() - begin


def test_a_run_that_goes_on_is_played_and_then_followed_live(past: Past) -> None:
    thread_id = past.thread()
    body = {"assistant_id": "waiting", "input": {"log": ["in"]}, "stream_mode": ["updates", "values"]}
    run = past.http.post(f"/threads/{thread_id}/runs", json=body).json()
    received = b""
    with past.http.stream("GET", f"{path_of(thread_id, run['run_id'])}/events") as stream:
        for chunk in stream.iter_bytes():
            received += chunk
            if b'"second"' not in received and b'"first"' in received:
                with httpx.Client(base_url=past.http.base_url) as other:
                    other.post(f"{path_of(thread_id, run['run_id'])}/cancel")
    assert frames_of(received) == frames_of(replayed(past, thread_id, run["run_id"]))


def trim(past: Past, thread_id: str, seq: int) -> None:
    past.rows("delete from run_events where thread_id = %s and last_seq <= %s", thread_id, seq)
    past.rows("update thread_heads set trimmed_seq = %s where thread_id = %s", seq, thread_id)


def test_a_run_whose_log_was_trimmed_is_gone_up_to_the_horizon(past: Past) -> None:
    thread_id, run_id, _ = past.run("steps", stream_mode=["values"], durability="sync")
    whole = events_of(replayed(past, thread_id, run_id))
    [(horizon,)] = past.rows("select min(last_seq) + 1 from run_events where thread_id = %s", thread_id)
    [(horizon,)] = past.rows(
        "select min(last_seq) from run_events where thread_id = %s and last_seq >= %s", thread_id, horizon
    )
    trim(past, thread_id, horizon)
    answer = past.http.get(f"{path_of(thread_id, run_id)}/events")
    assert answer.status_code == 410
    assert f"up to {horizon} are no longer kept" in answer.json()["detail"]
    rest = events_of(replayed(past, thread_id, run_id, from_seq=horizon + 1))
    assert rest == [event for event in whole if event.id > horizon]


def test_a_run_behind_the_horizon_plays_whole_although_it_was_accepted_before_it(past: Past) -> None:
    thread_id, first_id, _ = past.run("steps")
    _, second_id, _ = past.run("steps", thread_id)
    whole = events_of(replayed(past, thread_id, second_id))
    [(last,)] = past.rows("select end_seq from runs where run_id = %s", first_id)
    trim(past, thread_id, last)
    past.rows("update runs set start_seq = 0 where run_id = %s", second_id)
    assert events_of(replayed(past, thread_id, second_id)) == whole
    assert past.http.get(f"{path_of(thread_id, first_id)}/events").status_code == 410


@pytest.mark.parametrize(
    ("parameters", "status"),
    [({"speed": "fast"}, 422), ({"speed": "0"}, 422), ({"from_seq": -1}, 422), ({"include": "all"}, 422)],
)
def test_what_cannot_be_played_is_refused_in_words(past: Past, parameters: Any, status: int) -> None:
    thread_id, run_id, _ = past.run("steps")
    answer = past.http.get(f"{path_of(thread_id, run_id)}/events", params=parameters)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_a_run_nobody_knows_cannot_be_played(past: Past) -> None:
    assert past.http.get(f"{path_of(past.thread(), str(uuid4()))}/events").status_code == 404
    assert past.http.get(f"{path_of(str(uuid4()), str(uuid4()))}/events").status_code == 404


def test_a_speed_is_a_factor_or_max() -> None:
    assert (read_speed("max"), read_speed("4"), read_speed("0.5")) == (None, 4.0, 0.5)
    for text in ("", "nan", "inf", "-1", "1e9", "twice"):
        with pytest.raises(Invalid, match="speed must be max or a factor"):
            read_speed(text)


def test_a_clock_that_went_back_is_no_wait() -> None:
    pace = Pace(1.0)
    assert pace.wait(5_000_000, now=100.0) == 0.0
    assert pace.wait(4_000_000, now=100.0) == 0.0
    assert pace.wait(4_500_000, now=100.2) == pytest.approx(0.3)


def test_events_are_compared_by_name_number_and_content() -> None:
    body = b": heartbeat\r\n\r\nevent: values\r\ndata: {}\r\nid: 3\r\n\r\n"
    assert events_of(body) == [Event("values", {}, 3)]
