"""Owns what these tests ask of a server: runs of the graphs in `projects`, and their events."""

from typing import Any

import httpx

from threadline.commands.demo.client import Client, Event, new_thread_id


def begin_run(url: str, seconds: float) -> tuple[str, str]:
    """Start a run of `waiting` and return thread and run once its first node has ended."""
    thread_id, run_id = new_thread_id(), ""
    body = {"assistant_id": "waiting", "stream_mode": "updates", "durability": "sync"}
    with Client(url) as client:
        for event in client.stream_run(thread_id, input={"seconds": seconds}, **body):
            run_id = run_id or event.data["run_id"]
            if event.name == "updates":
                break
    return thread_id, run_id


def read_events(url: str, thread_id: str, run_id: str) -> list[Event]:
    """Return all events of a run, when it has ended."""
    with Client(url) as client:
        return list(client.join_stream(thread_id, run_id, "-"))


def wait_run(url: str, graph_id: str, graph_input: Any) -> Any:
    """Run a graph and return its values."""
    body = {"assistant_id": graph_id, "input": graph_input}
    response = httpx.post(f"{url}/runs/wait", json=body, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()
