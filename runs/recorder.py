"""Owns the taking of events where LangGraph emits them, and their way into the run's buffer.

LangGraph calls the stream hook just before it hands the reported write to the saver's task, so an event that
reports a write can be put beside that write:

  * `updates` and task results follow the call of `aput_writes` at once, in one go: they join its entry;
  * `values` and `checkpoints` precede the checkpoint they report: they wait for it, and hold back what follows.

Tokens, custom events, task starts, and everything of a graph that keeps no checkpoints report no write and flow
at once. The hook (`__pregel_stream`) and the runtime key (`__pregel_runtime`) are private names of LangGraph:
pinned, and covered by tests of both durabilities.
"""

import asyncio
from collections.abc import Callable, Mapping, Set
from threading import get_ident
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.config import get_config
from langgraph.pregel.protocol import StreamChunk, StreamProtocol

from threadline.checkpoints.buffer import RunBuffer
from threadline.checkpoints.run_saver import NO_TASK, RunSaver
from threadline.checkpoints.secrets import hide, without_secrets
from threadline.runs.encoding import encode
from threadline.runs.messages import MessageListener, MessageModes
from threadline.runs.model import ATTEMPT_STARTED, INPUT_REQUESTED, NODE_FINISHED, NODE_STARTED, JsonObject
from threadline.runs.past import Past
from threadline.runs.projections import Projections
from threadline.runs.state_view import view_config
from threadline.runs.tokens import TokenMeter
from threadline.runs.transcript import Transcript

INTERRUPT = "__interrupt__"
MAX_PENDING_BYTES = 64 * 1024 * 1024  # of one run, while the database takes nothing


class Recorder:
    """Records one attempt of one run.

    `modes` are the stream modes the run was created with; lifecycle, interrupts and the last values are kept
    whatever they are. `past` knows what earlier attempts have logged, so that committed work is reported once.
    `secrets` are kept out of the errors of nodes. `opening` says who makes this attempt; it is logged beside the
    first node, so that it costs no commit, or at once where there is a `protocol` to follow the run by. `holds` is
    false where nothing is written while the run goes on (durability exit).
    """

    def __init__(
        self,
        buffer: RunBuffer,
        saver: RunSaver,
        *,
        modes: frozenset[str],
        subgraphs: bool,
        protocol: bool,
        holds: bool,
        past: Past,
        secrets: Set[str],
        opening: JsonObject,
        on_overflow: Callable[[], None],
    ) -> None:
        self._buffer = buffer
        self._saver = saver
        self._modes = modes
        self._subgraphs = subgraphs
        self._holds = holds
        self._past = past
        self._secrets = secrets
        self.on_overflow = on_overflow
        self.opening: JsonObject | None = opening  # until it is logged
        self._meter = TokenMeter()
        self._messages = MessageModes(modes, self._log)
        self._ticking: set[str] = set()
        self._write_failed = False
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        saver.on_writes = self.note_writes
        self.values: Any = None
        self.interrupts: dict[str, list[dict[str, Any]]] = {}
        self.interrupted = False
        self.questions: list[Any] = []  # what the interrupts ask, as the wire shows it
        self.transcript = Transcript(self._log, secrets) if protocol else None
        self._asked: set[str] = set()
        self.projections: Projections | None = None
        if self.transcript is not None:
            self._open()
            self.transcript.cut_short(past.transcript)
            saver.on_checkpoint = self.transcript.take_checkpoint

    @property
    def stream(self) -> StreamProtocol:
        """The hook for `configurable["__pregel_stream"]`."""
        modes: set[Any] = {"values", "updates", "tasks"}
        modes |= (self._modes | (self.projections.modes if self.projections else set())) & {"checkpoints", "debug"}
        return StreamProtocol(self._take, modes)

    @property
    def callbacks(self) -> list[BaseCallbackHandler]:
        """What has to hear of the run's model calls."""
        if self.transcript is not None:
            return [self._meter, *self.transcript.callbacks(self._take_message)]
        if not self._messages.wanted:
            return [self._meter]
        return [self._meter, MessageListener(self._take_message, self._subgraphs)]

    def _take_message(self, chunk: StreamChunk) -> None:
        """Take what LangGraph's handlers of messages and tools emit; called from any thread."""
        self._in_loop(self._take, chunk)

    def write_custom(self, value: Any) -> None:
        """What a node's stream writer calls, from any thread."""
        if "custom" in self._modes:
            ns = tuple(get_config()["configurable"]["checkpoint_ns"].split("|")[:-1])
            self._in_loop(self._take, (ns, "custom", value))

    def note_version(self, stamp: Mapping[str, str]) -> None:
        """Say which version of the graph makes this attempt; a factory's is known only once it has made one."""
        if self.opening is not None:
            self.opening = {**self.opening, **stamp}

    def log_event(self, name: str, value: Any) -> None:
        """Log an event that reports no write."""
        self._log(name, value)

    def _in_loop(self, function: Callable[[Any], None], value: Any) -> None:
        if get_ident() == self._thread:
            function(value)
        else:
            self._loop.call_soon_threadsafe(function, value)

    def _take(self, chunk: StreamChunk) -> None:
        ns, mode, value = chunk
        if self.projections is not None and not (mode == "updates" and _is_cached(value)):
            self.projections.take(ns, mode, value)
        match mode:
            case "values":
                self._take_values(ns, value)
            case "updates":
                self._take_updates(ns, value)
            case "tasks":
                self._take_task(ns, value)
            case "messages" if self.transcript is not None:
                self.transcript.take_message(ns, value)
            case "messages":
                if self._visible(ns):
                    self._messages.take(ns, value)
            case "tools" if self.transcript is not None:
                self.transcript.take_tool(ns, value)
            case "checkpoints":
                shown = _without_secrets(value)
                self._take_checkpoint("checkpoints", ns, shown, shown)
            case "debug":
                self._take_debug(ns, value)
            case _:
                self._emit(mode, ns, value)

    def _open(self) -> None:
        if self.opening is not None:
            self._log(ATTEMPT_STARTED, self.opening)
            self.opening = None

    def _visible(self, ns: tuple[str, ...]) -> bool:
        return not ns or self._subgraphs

    def _log(self, name: str, value: Any, *, bound: bool = False) -> None:
        if bound and self._write_failed:
            return
        self._buffer.add_event(name, encode(value), bound=bound)
        if self._buffer.pending_bytes > MAX_PENDING_BYTES:
            self.on_overflow()

    def _emit(self, mode: str, ns: tuple[str, ...], value: Any, *, bound: bool = False) -> None:
        """Log an event of a mode somebody asked for."""
        if mode in self._modes and self._visible(ns):
            self._log("|".join((mode, *ns)), value, bound=bound)

    def _take_values(self, ns: tuple[str, ...], value: Any) -> None:
        if not ns:
            self.values = value
        path = "|".join(ns)
        if self._past.has_values(path, resumed=path not in self._ticking):
            return
        if "values" not in self._modes or not self._visible(ns):
            return
        if INTERRUPT in value if isinstance(value, dict) else False:
            self._emit("values", ns, value, bound=True)
        elif self._holds and path in self._ticking and self._saver.saves(path):
            self._saver.held.hold(path).add_event("|".join(("values", *ns)), encode(value))
        else:
            self._emit("values", ns, value)

    def _take_updates(self, ns: tuple[str, ...], value: Any) -> None:
        if isinstance(value, dict) and INTERRUPT in value:
            if not ns:
                self.interrupted = True
                self.questions.extend(value[INTERRUPT])
        elif _is_cached(value) and self._past.has_finished(value):
            return
        self._emit("updates", ns, value, bound=not _is_cached(value))

    def _take_task(self, ns: tuple[str, ...], value: Mapping[str, Any]) -> None:
        path = "|".join(ns)
        if "triggers" in value:
            self._ticking.add(path)
            self._open()
            if self.transcript is not None:
                self.transcript.take_task(ns, value)
            if self._past.starts(value["id"], value["name"]):
                if not self._saver.has_result(value["id"]):
                    self._log(NODE_STARTED, {"id": value["id"], "name": value["name"], "ns": list(ns)})
                self._emit("tasks", ns, value)
            return
        value = self._without_secrets(value)
        error = value.get("error")
        interrupts = value.get("interrupts") or []
        finished = {"id": value["id"], "name": value["name"], "ns": list(ns), "error": error and _told(error)}
        if usage := self._meter.take(value["id"]):
            finished["usage"] = usage
        self._log(NODE_FINISHED, finished, bound=True)
        self._emit("tasks", ns, value, bound=True)
        for interrupt in interrupts:
            # A subgraph's question is its parents', too: `again` tells who only passes it on.
            asked = {**interrupt, "task_id": value["id"], "ns": list(ns), "again": interrupt["id"] in self._asked}
            self._log(INPUT_REQUESTED, asked, bound=True)
            self._asked.add(interrupt["id"])
        if self.transcript is not None:
            self.transcript.take_task(ns, value)
        if interrupts and not ns:
            self.interrupts[value["id"]] = [{"id": i["id"], "value": i["value"]} for i in interrupts]

    def _without_secrets(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        """The task's result, with a text for an error that shows a secret of the run."""
        if not self._secrets or task.get("error") is None:
            return task
        shown = _told(task["error"])
        hidden = hide(shown, self._secrets)
        return task if hidden == shown else {**task, "error": hidden}

    def _take_checkpoint(self, mode: str, ns: tuple[str, ...], checkpoint: Mapping[str, Any], value: Any) -> None:
        path = "|".join(ns)
        checkpoint_id = checkpoint["config"]["configurable"]["checkpoint_id"]
        if mode not in self._modes or not self._visible(ns) or self._past.has_checkpoint(mode, checkpoint_id):
            return
        if not self._holds or not self._saver.saves(path) or self._saver.has_written(path, checkpoint_id):
            self._emit(mode, ns, value)
            return
        parent = (checkpoint.get("parent_config") or {}).get("configurable", {}).get("checkpoint_id")
        entry = self._saver.held.hold_for(path, checkpoint_id, parent)
        entry.add_event("|".join((mode, *ns)), encode(value))

    def _take_debug(self, ns: tuple[str, ...], value: Mapping[str, Any]) -> None:
        if value["type"] == "checkpoint":
            shown = _with_places(_without_secrets(value["payload"]))
            self._take_checkpoint("debug", ns, shown, {**value, "payload": shown})
        elif value["type"] == "task" and self._past.knows(value["payload"]["id"]):
            return
        else:
            shown = {**value, "payload": self._without_secrets(value["payload"])}
            self._emit("debug", ns, shown, bound=value["type"] == "task_result")

    def note_writes(self, ns: str, task_id: str, taken: bool) -> None:
        """The saver took a task's writes, or could not: what reports them follows in this very call."""
        self._write_failed = not taken
        if task_id != NO_TASK:
            # From now on `values` of this graph report checkpoints, not the state it was resumed with.
            self._ticking.add(ns)


def _told(error: Any) -> str:
    return error if isinstance(error, str) else repr(error)


def _without_secrets(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's event carries the whole `configurable`; anybody who may read the thread may read the event."""
    shown = dict(checkpoint)
    for key in ("config", "parent_config", "metadata"):
        if shown.get(key):
            shown[key] = without_secrets(shown[key])
    return shown


def _with_places(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of the mode `debug` with the names that clients know it, its parent and its subgraphs by."""
    here, parent = view_config(checkpoint["config"]), view_config(checkpoint["parent_config"])
    tasks = [_with_place(task) for task in checkpoint["tasks"]]
    return {**checkpoint, "checkpoint": here, "parent_checkpoint": parent, "tasks": tasks}


def _with_place(task: Mapping[str, Any]) -> Mapping[str, Any]:
    if not task.get("state"):
        return task
    place = {"checkpoint": view_config(task["state"])}
    return {key: value for key, value in task.items() if key != "state"} | place


def _is_cached(update: Any) -> bool:
    metadata = update.get("__metadata__") if isinstance(update, dict) else None
    return bool(metadata and metadata.get("cached"))
