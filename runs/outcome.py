"""Owns what an attempt came to, and how that reads in the log, the run and the thread."""

from collections.abc import Set
from dataclasses import dataclass
from traceback import format_exception
from typing import Any

from threadline.checkpoints.buffer import Entry, Finish
from threadline.checkpoints.secrets import hide
from threadline.runs.encoding import encode
from threadline.runs.model import ATTEMPT_STARTED, ERROR, LIFECYCLE, RUN_ENDED, JsonObject, RunStatus, ThreadStatus

INTERRUPT = "__interrupt__"
CANCELLED = "The run was cancelled."


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run. `values` is what the graph's state came to, None when nobody knows."""

    status: RunStatus
    thread_status: ThreadStatus
    values: Any = None
    interrupts: JsonObject | None = None
    error: JsonObject | None = None
    reported: bool = False  # whether the client is told of the error


def describe_error(error: BaseException, secrets: Set[str] = frozenset()) -> JsonObject:
    """Return the wire's form of an error: class name, and text without `secrets`."""
    return {"error": type(error).__name__, "message": hide(str(error), secrets)}


def without(error: BaseException, secrets: Set[str]) -> BaseException:
    """Return the error, or a plain one in its stead whose text and trace do not show `secrets`."""
    if not secrets:
        return error
    trace = "".join(format_exception(error))
    hidden = hide(trace, secrets)
    return error if hidden == trace else RuntimeError(hidden)


def lifecycle(outcome: Outcome, graph_id: str) -> JsonObject:
    """Return how the event-streaming protocol tells of this end.

    A cancelled run `failed`: its clients stop at that, while they take `interrupted` for a question.
    """
    data: JsonObject = {"event": "completed", "graph_name": graph_id}
    if outcome.status is RunStatus.INTERRUPTED:
        data |= {"event": "failed", "error": CANCELLED}
    elif outcome.error is not None:
        data |= {"event": "failed", "error": outcome.error["message"] or outcome.error["error"]}
    elif outcome.thread_status is ThreadStatus.INTERRUPTED:
        data["event"] = "interrupted"
    return data


def is_plain(outcome: Outcome) -> bool:
    """Whether the end event alone says how the run ended, so that the protocol can read it there."""
    if outcome.status is RunStatus.INTERRUPTED:
        return False
    asks = isinstance(outcome.values, dict) and INTERRUPT in outcome.values
    return outcome.thread_status is not ThreadStatus.INTERRUPTED or asks


def write_entry(
    outcome: Outcome,
    *,
    fallback: bytes,
    config: JsonObject,
    cancel_known: bool,
    graph_id: str,
    protocol: bool,
    opening: JsonObject | None = None,
) -> Entry:
    """Return the entry that ends the run: its last events, statuses and values, committed together.

    `fallback` is the JSON text of the thread's values, for an outcome that has none of its own; `config` the run's,
    which the thread shows without its configurable: secrets may be in there. `opening` is of an attempt that came
    to its end before any node did. With `protocol` the end is told in its words, too.
    """
    values = encode_values(outcome.values) if outcome.values is not None else None
    entry = Entry()
    if opening is not None:
        entry.add_event(ATTEMPT_STARTED, encode(opening))
    if outcome.reported and outcome.error is not None:
        entry.add_event(ERROR, encode(outcome.error))
    if protocol or not is_plain(outcome):
        entry.add_event(LIFECYCLE, encode(lifecycle(outcome, graph_id)))
    entry.add_event(RUN_ENDED, write_answer(outcome, fallback))
    entry.finish = Finish(
        status=str(outcome.status),
        thread_status=str(outcome.thread_status),
        values=values.decode() if values is not None else None,
        interrupts=encode(outcome.interrupts or {}).decode(),
        error=encode(outcome.error).decode() if outcome.error is not None else None,
        config=encode({**config, "configurable": {}}).decode(),
        cancel_known=cancel_known,
    )
    entry.size += len(values or b"")
    return entry


def write_answer(outcome: Outcome, fallback: bytes) -> bytes:
    """Return the JSON text that waiting for the run answers with."""
    if outcome.reported and outcome.error is not None:
        return encode({"__error__": outcome.error})
    return encode(outcome.values) if outcome.values is not None else fallback


def encode_values(values: Any) -> bytes:
    """Encode the thread's values: the state without the interrupts that `values` events carry beside it."""
    if isinstance(values, dict) and INTERRUPT in values:
        values = {key: value for key, value in values.items() if key != INTERRUPT}
    return encode(values)
