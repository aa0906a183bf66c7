"""Owns the acts of the demo: what is done through HTTP, and what must be seen then. Each raises DemoFailed if not."""

from typing import Any

from threadline.commands.demo.client import Client, new_thread_id
from threadline.commands.demo.failure import expect
from threadline.commands.demo.narration import Account, narrate
from threadline.commands.demo.screen import Screen
from threadline.commands.demo.server import DemoServer

_SUM = "what is 12 * 31?"
_NOTE = "Save a note titled Reviewed by: the demo asked a person first"
# Seconds after each word, so that there is a middle to be killed in.
_TOKEN_DELAY = 0.04
_TOKENS_BEFORE_KILL = 5


def ask(client: Client, screen: Screen, question: str) -> str:
    """A question over real documents; returns the thread."""
    screen.title("1. A question over real documents")
    thread_id = new_thread_id()
    screen.line("you", f"{question} And {_SUM}")
    account = Account()
    _watch(client.stream_run(thread_id, input=_says(f"{question} And {_SUM}")), screen, account)
    answer = account.results("responder")[-1]
    expect(account.results("planner"), "the planner reports its plan", account.events)
    expect(len(account.results("tools")) == 2, "two tools are called side by side", account.results("tools"))
    expect(len(account.tokens("responder")) > 1, "the responder streams its answer", account.tokens("responder"))
    expect(answer["citations"], "the answer cites its sources", answer["messages"][-1]["content"])
    expect("372" in answer["messages"][-1]["content"], "the sum is right", answer["messages"][-1]["content"])
    return thread_id


def approve(client: Client, screen: Screen) -> None:
    """A request that asks a person before it changes something."""
    screen.title("2. An approval")
    thread_id = new_thread_id()
    screen.line("you", _NOTE)
    account = Account()
    _watch(client.stream_run(thread_id, input=_says(_NOTE)), screen, account)
    expect(account.results("__interrupt__"), "the run stops with an interrupt", account.events)
    thread = client.get(f"/threads/{thread_id}")
    expect(thread["status"] == "interrupted", "the thread is interrupted", thread["status"])
    screen.line("thread", "is interrupted: it waits in the database, and costs no process anything")
    screen.line("you", "approve; the run is resumed with the answer")
    account = Account()
    _watch(client.stream_run(thread_id, command={"resume": "approve"}), screen, account)
    saved = [message["content"] for result in account.results("tools") for message in result["messages"]]
    expect(any("is saved" in text for text in saved), "the note is saved", saved)
    thread = client.get(f"/threads/{thread_id}")
    expect(thread["status"] == "idle", "the thread is idle again", thread["status"])


def survive(client: Client, screen: Screen, server: DemoServer, question: str) -> None:
    """A run whose server is killed in its middle."""
    screen.title("3. kill -9 in mid-run")
    thread_id = new_thread_id()
    screen.line("you", question)
    before = Account()
    body: dict[str, Any] = {"input": _says(question), "context": {"token_delay": _TOKEN_DELAY}, "durability": "sync"}
    for _ in narrate(client.stream_run(thread_id, **body), screen, before):
        if len(before.tokens("responder")) == _TOKENS_BEFORE_KILL and not before.results("responder"):
            gone = server.kill()
            screen.line("kill", f"kill -9 in mid-sentence: all {len(gone)} processes of the server are gone")
            break
    expect(before.results("planner"), "the planner had finished before the kill", before.events)
    expect(not before.results("responder"), "the responder had not", before.results("responder"))
    server.start()
    screen.line("start", f"the same data, the same port: {server.url}")
    screen.line("resume", f"the stream is resumed with Last-Event-ID: {before.ids[-1]}")
    after = Account()
    _watch(client.join_stream(thread_id, before.run_id, before.ids[-1]), screen, after)
    _compare(client, thread_id, before, after, screen)


def _compare(client: Client, thread_id: str, before: Account, after: Account, screen: Screen) -> None:
    """Hold both halves of the stream against the log."""
    run = client.get(f"/threads/{thread_id}/runs/{before.run_id}")
    expect(run["status"] == "success", "the run ends by itself after the restart", run["status"])
    expect(after.attempts == [2], "the resumed stream tells of attempt 2", after.attempts)
    expect(not after.results("planner"), "the planner does not run again", after.results("planner"))
    expect(not after.results("tools"), "the tools do not run again", after.results("tools"))
    expect(after.results("responder"), "the responder finishes", after.events)
    log = list(client.join_stream(thread_id, before.run_id, "-"))
    seen = before.ids + after.ids
    expect(seen == [event.id for event in log], "no event is lost or doubled", seen)
    screen.line("resumed", "from the last checkpoint: planner and tools were not run again, the responder was")
    screen.line("", f"{len(before.ids)} events before the kill and {len(after.ids)} after it are the log's {len(log)}")


def fork(client: Client, screen: Screen, thread_id: str) -> None:
    """The past of the first thread, and another way on from one of its checkpoints."""
    screen.title("4. The history, and a fork of it")
    history = _history(client, thread_id)
    for state in reversed(history):
        screen.line(f"step {state['metadata']['step']}", _describe(state))
    start = next(state for state in reversed(history) if state["next"] == ["planner"])
    person = start["values"]["messages"][0]
    change = {"messages": [{**person, "content": "What is 6 * 7?"}]}
    place = {"checkpoint_id": start["checkpoint"]["checkpoint_id"]}
    forked = client.post(f"/threads/{thread_id}/state", {"values": change, **place})
    screen.line("fork", f"at step {start['metadata']['step']}, with another question: What is 6 * 7?")
    account = Account()
    _watch(client.stream_run(thread_id, checkpoint_id=forked["checkpoint_id"]), screen, account)
    branches = [state for state in _history(client, thread_id) if not state["next"]]
    expect(len(branches) == 2, "the thread has two branches, each to its end", branches)
    answers = [state["values"]["messages"][-1]["content"] for state in branches]
    expect("42" in answers[0] and "372" in answers[1], "each branch has its own answer", answers)
    for name, state, answer in zip(("new", "old"), branches, answers, strict=True):
        screen.line(f"{name} branch", f"{state['checkpoint']['checkpoint_id']}: {answer.splitlines()[0]}")


def _watch(events: Any, screen: Screen, account: Account) -> None:
    for _ in narrate(events, screen, account):
        pass
    expect(account.events, "the stream has events", account.events)
    failures = [event.data for event in account.events if event.name == "error"]
    expect(not failures, "the run does not fail", failures)


def _says(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _history(client: Client, thread_id: str) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = client.post(f"/threads/{thread_id}/history", {"limit": 100})
    return states


def _describe(state: dict[str, Any]) -> str:
    waits = ", ".join(state["next"]) or "nothing: the end"
    return f"{state['checkpoint']['checkpoint_id']} ({state['metadata']['source']}), next {waits}"
