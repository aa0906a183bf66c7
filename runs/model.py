"""Owns the words of the run store: threads, runs, assistants and the statuses they move through.

Columns, fields and JSON keys share their names. How these are stored is `queries.sql`'s business.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

JsonObject = dict[str, Any]


class RunStatus(StrEnum):
    """Where a run is. The last four are final: nothing moves a run out of them."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        return self not in (RunStatus.PENDING, RunStatus.RUNNING)


class ThreadStatus(StrEnum):
    """What the last run left behind; `busy` while a run is pending or running."""

    IDLE = "idle"
    BUSY = "busy"
    INTERRUPTED = "interrupted"
    ERROR = "error"


class MultitaskStrategy(StrEnum):
    """What happens to a run created on a thread that has one in flight."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


class CancelAction(StrEnum):
    """`interrupt` keeps what the run did; `rollback` removes its checkpoints and the run."""

    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"


class StopReason(StrEnum):
    """Why the worker stopped a run's task from outside."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    LEASE_LOST = "lease lost"
    SHUTDOWN = "shutdown"
    BACKLOG = "backlog"


class TtlStrategy(StrEnum):
    """What happens to a thread whose time is over: it goes, or all but its latest state goes."""

    DELETE = "delete"
    KEEP_LATEST = "keep_latest"


@dataclass(frozen=True, slots=True)
class Ttl:
    """How long a thread lives from its last activity. None leaves what it has; negative minutes are for ever."""

    minutes: float | None = None
    strategy: TtlStrategy | None = None


@dataclass(frozen=True, slots=True)
class Assistant:
    """A graph with its configuration; every graph has one made by the system."""

    assistant_id: UUID
    graph_id: str
    name: str
    description: str | None
    config: JsonObject
    context: JsonObject
    metadata: JsonObject
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AssistantVersion:
    """An assistant as one of its changes left it."""

    assistant_id: UUID
    graph_id: str
    name: str
    description: str | None
    config: JsonObject
    context: JsonObject
    metadata: JsonObject
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation. `values` and `interrupts` are JSON text as the last run left them.

    `ttl_minutes` is how long it lives without activity, None without a limit of its own and negative for ever.
    """

    thread_id: UUID
    metadata: JsonObject
    config: JsonObject
    status: ThreadStatus
    values: Any
    interrupts: JsonObject
    error: JsonObject | None
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime
    ttl_minutes: float | None = None
    ttl_strategy: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run to be accepted.

    `kwargs` holds the keys of the wire contract's run kwargs (input, command, config, context, stream_mode,
    ...). `inherited_metadata` is the assistant's; the thread's is merged in between by the database.
    `fresh_thread` means: the caller minted `thread_id`, nobody else can know it.
    """

    run_id: UUID
    thread_id: UUID
    assistant_id: UUID
    graph_id: str
    kwargs: JsonObject
    metadata: JsonObject
    inherited_metadata: JsonObject
    multitask_strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE
    fresh_thread: bool = False
    hidden_thread: bool = False
    create_thread: bool = False
    delay: timedelta = timedelta(0)
    webhook: str | None = None
    thread_metadata: JsonObject = field(default_factory=dict)  # merged into the thread's; for runs of crons


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the database knows it. `start_seq` is the log's last number when it was accepted."""

    run_id: UUID
    thread_id: UUID
    assistant_id: UUID
    graph_id: str
    status: RunStatus
    metadata: JsonObject
    kwargs: JsonObject
    multitask_strategy: MultitaskStrategy
    error: JsonObject | None
    attempt: int
    failures: int
    start_seq: int
    end_seq: int | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to execute a run: the fence (`run.run_id`, `epoch`) that every write of it must match."""

    run: Run
    epoch: int
    has_checkpoint: bool
    fault: Exception | None = None  # why the run cannot be executed: what it was given cannot be opened
    encryption_context: Mapping[str, Any] | None = None  # in which what it stores is sealed, if there is one

    def check(self) -> None:
        """Raise the fault, if there is one."""
        if self.fault is not None:
            raise self.fault


class LogEvent(NamedTuple):
    """One event of the log. `data` is JSON text; `name` is the SSE event name, internal if it starts with a dot."""

    seq: int
    run_id: UUID
    name: str
    data: bytes
    time: int


@dataclass(frozen=True, slots=True)
class LogRow:
    """What one flush wrote of one run: events numbered `first_seq` to `last_seq`, payloads laid end to end.

    `contents` has one `[name, payload length in bytes, time in microseconds since the epoch]` per event.
    """

    thread_id: UUID
    first_seq: int
    last_seq: int
    run_id: UUID
    contents: list[tuple[str, int, int]]
    payload: bytes

    def ends(self, run_id: UUID) -> bool:
        """Whether this row holds the end of that run; nothing of a run comes behind its end."""
        return self.run_id == run_id and self.contents[-1][0] == RUN_ENDED

    def events(self, after: int = 0) -> Iterator[LogEvent]:
        """Yield the events with a number greater than `after`."""
        start = 0
        for seq, (name, length, time) in enumerate(self.contents, self.first_seq):
            if seq > after:
                yield LogEvent(seq, self.run_id, name, self.payload[start : start + length], time)
            start += length


# Internal events: recorded for every run, never sent to a client of a run's stream.
ATTEMPT_STARTED = ".attempt_started"
NODE_STARTED = ".node_started"
NODE_FINISHED = ".node_finished"
INPUT_REQUESTED = ".input_requested"
STATE_UPDATED = ".state_updated"
STATE_MIGRATED = ".state_migrated"
RUN_ENDED = ".run_ended"

# Events of the event-streaming protocol that are no view of another event; `|` and a namespace may follow.
# The worker logs them for runs that the protocol started, and a LIFECYCLE before any end that its own data leaves
# open: a cancelled run, a breakpoint.
MESSAGES = ".event/messages"
TOOLS = ".event/tools"
LIFECYCLE = ".event/lifecycle"
CHECKPOINTS = ".event/checkpoints"

# The modes of a run that the protocol started; "lifecycle" is what tells it from others.
PROTOCOL_MODES = ("values", "updates", "messages", "tools", "lifecycle", "custom", "tasks", "checkpoints")

# Sent to every client of the run, whatever modes it asked for.
METADATA = "metadata"
ERROR = "error"
# By the keys of the run, the addresses at which users say what they think of it.
FEEDBACK = "feedback"


def merge_metadata(*layers: Mapping[str, Any]) -> JsonObject:
    """Later layers win, key by key."""
    merged: JsonObject = {}
    for layer in layers:
        merged.update(layer)
    return merged
