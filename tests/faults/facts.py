"""Owns what a sitting of the fault laboratory writes down: what clients, nodes and the database saw, as plain facts.

Nothing here decides anything; that is `checker`'s.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import orjson

METADATA = "metadata"


def canonical(data: Any) -> str:
    """The JSON of a value, the same however it travelled."""
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS).decode()


def comparable(values: Any) -> str:
    """The JSON of a state without how long its nodes took."""
    return canonical({key: value for key, value in (values or {}).items() if key != "pace"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that the server has answered with 2xx.

    `kind` names its graph and size, for comparison with a calm one where `is_compared`: it has its thread to itself,
    and nobody cancels it; or it took the place of `instead_of`, which was rolled back. One that `may_go` may be.
    """

    run_id: str
    thread_id: str
    kind: str
    durability: str
    is_compared: bool = True
    may_go: bool = False
    instead_of: str = ""


class RunRow(NamedTuple):
    """A run as its row has it in the end; of one that nobody was told about, too."""

    run_id: str
    thread_id: str
    status: str
    attempt: int
    end_seq: int | None
    durability: str


class Event(NamedTuple):
    """One event: its number, name, data as canonical JSON, and when it happened, in seconds since the epoch."""

    seq: int
    name: str
    data: str
    time: float = 0.0

    @property
    def mode(self) -> str:
        """The name without the subgraph."""
        return self.name.partition("|")[0]

    @property
    def is_shown(self) -> bool:
        """Whether clients get it."""
        return not self.name.startswith(".")


class LogRow(NamedTuple):
    """One row of a thread's log, and the transaction that wrote it."""

    thread_id: str
    first_seq: int
    last_seq: int
    run_id: str
    transaction: int
    events: tuple[Event, ...]


class Received(NamedTuple):
    """What one client got of a run's stream, over all its connections. `has_ended`: it was told that this is all."""

    client: str
    run_id: str
    events: tuple[Event, ...]
    has_ended: bool


class Answer(NamedTuple):
    """What a client that waited for a run was told."""

    client: str
    run_id: str
    values: str


class Effect(NamedTuple):
    """What a node did to the world: in which attempt of its run, as which piece of work, in which superstep."""

    run_id: str
    attempt: int
    work: str
    superstep: str
    what: str  # started or done
    pid: int = 0


class Checkpoint(NamedTuple):
    """A checkpoint and the transaction that wrote it."""

    thread_id: str
    ns: str
    checkpoint_id: str
    parent_id: str | None
    source: str
    transaction: int


class Write(NamedTuple):
    """A pending write of a task and the transaction that wrote it."""

    thread_id: str
    task_id: str
    channel: str
    transaction: int


@dataclass(frozen=True)
class History:
    """Everything that is known of a sitting when it is over."""

    accepted: tuple[Accepted, ...] = ()
    runs: tuple[RunRow, ...] = ()
    heads: dict[str, int] = field(default_factory=dict)  # each thread's last number
    log: tuple[LogRow, ...] = ()
    received: tuple[Received, ...] = ()
    answers: tuple[Answer, ...] = ()
    effects: tuple[Effect, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    writes: tuple[Write, ...] = ()
    values: dict[str, str] = field(default_factory=dict)  # each thread's last state
    calm: dict[str, str] = field(default_factory=dict)  # the state in which an undisturbed run of that kind ends

    @cached_property
    def rows_of_thread(self) -> dict[str, list[LogRow]]:
        """The log by thread, each in the order of its numbers."""
        found: dict[str, list[LogRow]] = defaultdict(list)
        for row in sorted(self.log, key=lambda row: (row.last_seq, row.first_seq)):
            found[row.thread_id].append(row)
        return found

    @cached_property
    def events_of_run(self) -> dict[str, list[Event]]:
        """Each run's events in the order of the log."""
        found: dict[str, list[Event]] = defaultdict(list)
        for rows in self.rows_of_thread.values():
            for row in rows:
                found[row.run_id].extend(row.events)
        return found

    @cached_property
    def effects_of_run(self) -> dict[str, list[Effect]]:
        """Each run's effects in the order in which they happened."""
        found: dict[str, list[Effect]] = defaultdict(list)
        for effect in self.effects:
            found[effect.run_id].append(effect)
        return found

    def reports(self, run_id: str) -> Iterator[tuple[int, str]]:
        """Yield the attempt and the piece of work of each report of finished work."""
        attempt = 0
        for event in self.events_of_run.get(run_id, ()):
            if event.name == METADATA:
                attempt = orjson.loads(event.data)["attempt"]
            elif event.mode == "updates":
                for node, update in orjson.loads(event.data).items():
                    # A subgraph reports once more what its nodes have reported.
                    if node != "sub" and isinstance(update, dict) and update.get("log"):
                        yield attempt, update["log"][-1]
