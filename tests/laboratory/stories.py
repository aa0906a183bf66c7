"""Owns runs that are disturbed at a chosen place, and what must be true of them afterwards, whatever disturbed them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from threadline.runs.engine import Engine
from threadline.runs.model import INPUT_REQUESTED, NODE_FINISHED, NODE_STARTED, RUN_ENDED, LogEvent, Run
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, read, trace

_WRITES = """
    select distinct task_id from checkpoint_writes
    where thread_id = %s and channel not in ('__interrupt__', '__resume__', '__error__')
"""


@dataclass(frozen=True)
class Story:
    """A graph, the node that waits while the disturbance comes, and what has left its trace by then.

    `answers` is how many times the graph is answered before: each answer is a run of its own.
    """

    graph_id: str
    gate: str
    seen: tuple[str, ...]
    answers: int = 0

    @property
    def name(self) -> str:
        return f"{self.graph_id} at {self.gate}"


STORIES = (
    Story("line", "a", ("a started",)),
    Story("line", "b", ("a done", "b started")),
    Story("line", "c", ("b done", "c started")),
    Story("fork", "right", ("left done", "right started")),
    Story("fork", "join", ("left done", "right done", "join started")),
    Story("nested", "inner_a", ("a done", "inner_a started")),
    Story("nested", "inner_b", ("inner_a done", "inner_b started")),
    Story("nested", "c", ("inner_b done", "c started")),
    Story("talking", "talk", ("a done", "talk started")),
    Story("talking", "c", ("talk done", "c started")),
    Story("asking", "a", ("a started",)),
    Story("asking", "ask", ("ask answered",), answers=1),
    Story("asking", "b", ("ask answered", "b started"), answers=1),
    Story("asking", "ask_again", ("b done", "ask_again answered"), answers=2),
    Story("asking", "c", ("ask_again answered", "c started"), answers=2),
    Story("asking_twice", "left", ("right answered", "left answered"), answers=1),
    Story("asking_twice", "join", ("left answered", "join started"), answers=1),
)


@dataclass
class Telling:
    """One run of a story: its place, and how it went."""

    story: Story
    folder: Path
    thread_id: UUID
    runs: list[Run] = field(default_factory=list)
    committed: set[str] = field(default_factory=set)  # names of nodes whose writes were stored before the disturbance


async def answer(lab: Laboratory, engine: Engine, telling: Telling, **kwargs: Any) -> Run:
    """Answer all that the thread asks."""
    asked = await lab.value("select interrupts from threads where thread_id = %s", telling.thread_id)
    answers = {question["id"]: "yes" for questions in asked.values() for question in questions}
    request = lab.request(telling.story.graph_id, telling.thread_id, command={"resume": answers}, **kwargs)
    telling.runs.append(await engine.queue.create(request))
    return telling.runs[-1]


async def begin(lab: Laboratory, engine: Engine, story: Story, *, undisturbed: bool = False, **kwargs: Any) -> Telling:
    """Tell the story up to its gate; undisturbed, to its end."""
    folder = lab.make_folder()
    gates = [] if undisturbed else [story.gate]
    request = lab.request(story.graph_id, input={"folder": str(folder), "gates": gates, "log": []}, **kwargs)
    run = await engine.queue.create(request)
    telling = Telling(story, folder, run.thread_id, [run])
    for _ in range(story.answers):
        await engine.tails.result(telling.runs[-1])
        await answer(lab, engine, telling, **kwargs)
    if not undisturbed:
        await lab.until_traced(folder, *story.seen)
    return telling


async def note_committed(lab: Laboratory, telling: Telling) -> None:
    """Note which nodes' writes are stored now, when nobody can write any more."""
    finished = [read(event) for event in await lab.log(telling.thread_id) if event.name == NODE_FINISHED]
    writes = await lab.rows(_WRITES, str(telling.thread_id))
    stored = {task_id for (task_id,) in writes}
    telling.committed = {task["name"] for task in finished if task["error"] is None and task["id"] in stored}


async def finish(lab: Laboratory, engine: Engine, telling: Telling, **kwargs: Any) -> None:
    """Open the gate and tell the story to its end."""
    open_gate(telling.folder, telling.story.gate)
    await engine.tails.result(telling.runs[-1])
    while await lab.value("select interrupts::text from threads where thread_id = %s", telling.thread_id) != "{}":
        await answer(lab, engine, telling, **kwargs)
        await engine.tails.result(telling.runs[-1])


def count_effects(telling: Telling) -> list[str]:
    """What is wrong with how often nodes ran: committed ones once, those in flight at most twice."""
    wrong = []
    for line, times in trace(telling.folder).items():
        name = line.rsplit(" ", 1)[0]
        allowed = 1 if name in telling.committed else 2
        if times > allowed:
            wrong.append(f"{line!r} {times} times, where {allowed} was allowed")
    return wrong


def reports(events: list[LogEvent]) -> Counter[str]:
    """What the log reports of committed work, comparable between two tellings: ids and folders left out."""
    found: Counter[str] = Counter()
    for event in events:
        mode = event.name.partition("|")[0]
        if mode in ("values", "updates") or event.name == RUN_ENDED:
            found[f"{mode} {show(read(event))}"] += 1
        elif event.name in (NODE_FINISHED, INPUT_REQUESTED):
            data = read(event)
            found[f"{event.name} {data.get('name') or show(data['value'])} {data.get('error')}"] += 1
    return found


def show(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: show(value) for key, value in sorted(data.items()) if key not in ("folder", "gates", "id")}
    return [show(value) for value in data] if isinstance(data, list) else data


def last_attempt(events: list[LogEvent]) -> list[LogEvent]:
    """Of each run the events behind its newest `metadata` event."""
    starts = {event.run_id: event.seq for event in events if event.name == "metadata"}
    return [event for event in events if event.seq >= starts[event.run_id]]


def tokens_repeat_only_behind_metadata(events: list[LogEvent]) -> bool:
    """Whether, between two `metadata` events, every token, custom event and start of a node comes once."""
    seen: Counter[tuple[str, bytes]] = Counter()
    for event in events:
        if event.name == "metadata":
            seen.clear()
        elif event.name.startswith(("messages", "custom", NODE_STARTED)):
            seen[event.name, event.data] += 1
            if seen[event.name, event.data] > 1:
                return False
    return True
