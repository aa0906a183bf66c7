"""What monitoring is told."""

import re
from collections.abc import Iterator

import httpx
import pytest


@pytest.fixture
def running(http: httpx.Client, thread_id: str) -> str:
    """A run that is at work for as long as a test lasts."""
    body = {"assistant_id": "ticking", "input": {"n": 5000}}
    path = f"/threads/{thread_id}/runs/{http.post(f'/threads/{thread_id}/runs', json=body).json()['run_id']}"
    with http.stream("GET", f"{path}/stream", headers={"Last-Event-ID": "-"}) as it:
        next(it.iter_raw())
    return path


@pytest.fixture(autouse=True)
def nothing_left(http: httpx.Client, thread_id: str) -> Iterator[None]:
    """Ends what a test has left at work."""
    yield
    http.delete(f"/threads/{thread_id}")


def test_a_run_at_work_and_its_place_are_counted(http: httpx.Client, running: str) -> None:
    told = http.get("/metrics", params={"format": "json"}).json()
    assert told["queue"]["n_running"] >= 1
    assert told["workers"]["active"] >= 1
    assert told["workers"]["max"] == told["workers"]["active"] + told["workers"]["available"]
    assert told["processes"] == 1


def test_a_run_that_waits_behind_another_is_counted_as_blocked(
    http: httpx.Client, thread_id: str, running: str
) -> None:
    http.post(f"/threads/{thread_id}/runs", json={"assistant_id": "steps", "input": {}})
    queue = http.get("/metrics", params={"format": "json"}).json()["queue"]
    assert queue["n_pending"] >= 1
    assert queue["pending_runs_wait_time_max_secs"] >= queue["pending_runs_wait_time_med_secs"] >= 0
    assert queue["pending_unblocked_runs_wait_time_max_secs"] is None


def test_prometheus_reads_the_same_numbers(http: httpx.Client, running: str) -> None:
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    numbers = dict(re.findall(r"^(\w+) ([0-9.]+)$", answer.text, flags=re.MULTILINE))
    assert float(numbers["lg_api_num_running_runs"]) >= 1
    kinds = dict(re.findall(r"^# TYPE (\w+) (gauge|counter)$", answer.text, flags=re.MULTILINE))
    assert set(kinds) == set(numbers)
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        f"threadline_removed_{kind}_total" for kind in http.get("/metrics?format=json").json()["removed"]
    }


def test_an_unknown_form_of_metrics_is_refused(http: httpx.Client) -> None:
    assert http.get("/metrics", params={"format": "xml"}).status_code == 422
