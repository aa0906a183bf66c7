"""Owns what can go wrong with a run, as values the API turns into statuses.

RunError
  NotFound            ThreadNotFound  RunNotFound  AssistantNotFound  CheckpointNotFound
  Conflict            ThreadBusy  ThreadExists  AssistantExists  AssistantOfSystem  VersionPinned  PendingNodesGone
  MigrationFailed     ends a run
  Invalid             UnknownGraph  NothingToCancel is a NotFound; InvalidState  InvalidItem
  Gone                CursorTrimmed  ThreadGone
  TooManyPending  ThreadHeld  EmbeddingFailed  Unreadable
  LeaseLost           never leaves the worker
"""

from uuid import UUID

from threadline.checkpoints.vault import VaultError as VaultError  # what storage itself says of values it cannot open


class RunError(Exception):
    """Something about threads and runs went wrong; the text is fit for the client."""


class NotFound(RunError):
    """What was asked for does not exist."""


class ThreadNotFound(NotFound):
    def __init__(self, thread_id: UUID) -> None:
        super().__init__(f"Thread with ID {thread_id} not found")


class RunNotFound(NotFound):
    def __init__(self, run_id: UUID) -> None:
        super().__init__(f"Run with ID {run_id} not found")


class AssistantNotFound(NotFound):
    def __init__(self, assistant_id: UUID | str) -> None:
        super().__init__(f"Assistant '{assistant_id}' not found")


class CheckpointNotFound(NotFound):
    def __init__(self, thread_id: UUID, checkpoint_id: str) -> None:
        super().__init__(f"Checkpoint {checkpoint_id} of thread {thread_id} not found")


class NothingToCancel(NotFound):
    """The run exists no more or is final already."""


class Conflict(RunError):
    """The request is fine, the thread's present state is against it."""


class ThreadBusy(Conflict):
    def __init__(self) -> None:
        super().__init__(
            "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."
        )


class ThreadExists(Conflict):
    def __init__(self, thread_id: UUID) -> None:
        super().__init__(f"Thread with ID {thread_id} already exists")


class AssistantExists(Conflict):
    def __init__(self, assistant_id: UUID) -> None:
        super().__init__(f"Assistant {assistant_id} already exists")


class AssistantOfSystem(Conflict):
    """The assistant that a graph is reached by; the text says what cannot be done to it."""


class VersionPinned(Conflict):
    """The thread belongs to another version of its graph, which is to stay with it."""

    def __init__(self, thread_id: UUID, change: str) -> None:
        super().__init__(
            f"Thread {thread_id} {change}. The graph is pinned: execute the run with that version, or update the "
            "thread's state, which moves it to this one."
        )


class PendingNodesGone(Conflict):
    """What the thread was about to do, the graph can do no more."""

    def __init__(self, thread_id: UUID, gone: str, change: str) -> None:
        super().__init__(
            f"Thread {thread_id} waits for {gone}, which the graph no longer has; nothing was executed. It {change}. "
            "Bring the node back, go on elsewhere with `command.goto` or by updating the thread's state, or give the "
            "graph a `migrate` function."
        )


class MigrationFailed(RunError):
    """The project's function could not move the thread over; the text says why."""


class Invalid(RunError):
    """The request can never succeed as it is; the text says what instead."""


class UnknownGraph(Invalid):
    """The graph is not in langgraph.json, or failed to load; the text says which and where."""


class InvalidState(Invalid):
    """A state update the graph refuses."""


class InvalidItem(Invalid):
    """An item of the store, or a search for some, that means nothing."""


class EmbeddingFailed(RunError):
    """No vectors could be had for a text; the text says what happened."""


class Gone(RunError):
    """It was there and is not any more."""


class ThreadGone(Gone):
    def __init__(self, thread_id: UUID) -> None:
        super().__init__(f"Thread with ID {thread_id} was deleted")


class CursorTrimmed(Gone):
    def __init__(self, cursor: int, trimmed_seq: int) -> None:
        self.trimmed_seq = trimmed_seq
        super().__init__(
            f"Events up to {trimmed_seq} are no longer kept, so the stream cannot resume after {cursor}. "
            f"Resume after {trimmed_seq}, or read the thread's state instead."
        )


class Overloaded(RunError):
    """More is asked at this moment than can be taken."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(
            f"{waiting} runs wait to be accepted, more than the database takes. Try again in {retry_after} s."
        )


class TooManyPending(RunError):
    def __init__(self, limit: int, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"As many runs are waiting as may ({limit}), or nearly. Try again in {retry_after} s.")


class Unreadable(RunError):
    """What is stored cannot be opened; the text says where, and with which key."""


class ThreadHeld(RunError):
    """Somebody has the thread's head locked for longer than a request waits: mostly a process that is in trouble."""

    def __init__(self) -> None:
        super().__init__("The thread is held up by another request. Nothing was done; send the request again.")


class LeaseLost(RunError):
    """A write was refused: the run belongs to somebody else now."""
