"""Owns what the event-streaming protocol shows of an attempt beyond what is logged for every run: messages block by
block, calls of tools, and the life of subgraphs. How these read on the wire is `envelopes`' business.

LangChain makes the message events, LangGraph those of tools and of subgraphs; the handlers and the bridge are private
names of theirs: pinned, and covered by tests.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from types import TracebackType
from typing import Any
from uuid import UUID

import orjson
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models._compat_bridge import message_to_events
from langchain_core.messages import BaseMessage
from langgraph.pregel._messages import StreamMessagesHandlerV2
from langgraph.pregel._tools import StreamToolCallHandler
from langgraph.pregel.protocol import StreamChunk
from langgraph.stream import LifecycleTransformer, SubgraphStatus

from threadline.checkpoints.buffer import CheckpointRow, Entry
from threadline.checkpoints.secrets import hide
from threadline.runs.encoding import encode
from threadline.runs.messages import Log
from threadline.runs.model import CHECKPOINTS, LIFECYCLE, MESSAGES, TOOLS, JsonObject, LogEvent

Namespace = tuple[str, ...]

ROLES = {"human": "human", "system": "system"}  # every other message is the graph's: "ai"
CUT_SHORT = "The process that made this attempt is gone; the next attempt starts over."


class Transcript:
    """Logs one attempt's messages, tools and subgraphs, through `log`. `secrets` are kept out of errors.

    Belongs to the event loop of the attempt; `callbacks` hand what they hear, from any thread, to `take`, which the
    caller brings to the loop.
    """

    def __init__(self, log: Log, secrets: Set[str]) -> None:
        self._log = log
        self._secrets = secrets
        self._subgraphs = Subgraphs(log)
        self._ids: dict[str, str] = {}  # model call -> the id of the message it is making

    def callbacks(self, take: Callable[[StreamChunk], None]) -> list[BaseCallbackHandler]:
        """What has to hear of the run's model and tool calls."""
        # With `subgraphs`, LangGraph keeps handlers that it did not make itself.
        return [_Messages(take, True), StreamToolCallHandler(take, True)]

    def take_message(self, ns: Namespace, value: tuple[Any, Mapping[str, Any]]) -> None:
        """Log a message event of a model, or a whole message that a node returned, event by event."""
        payload, metadata = value
        name = _named(MESSAGES, ns)
        if isinstance(payload, dict) and payload.get("event") == "error":
            payload = {**payload, "message": hide(payload["message"], self._secrets)}
        if isinstance(payload, BaseMessage):
            for event in message_to_events(payload, message_id=payload.id):
                self._log(name, _complete(dict(event), payload.id, ROLES.get(payload.type)))
        else:
            self._log(name, _complete(dict(payload), self._id_of(payload, str(metadata.get("run_id"))), None))

    def _id_of(self, event: Mapping[str, Any], call: str) -> str | None:
        """The id of the message an event belongs to; the first one tells it."""
        match event.get("event"):
            case "message-start":
                self._ids[call] = event.get("id") or call
                return self._ids[call]
            case "message-finish" | "error":
                return self._ids.pop(call, None)
        return self._ids.get(call)

    def take_tool(self, ns: Namespace, value: JsonObject) -> None:
        """Log an event of a tool's call."""
        if self._secrets and "message" in value:
            value = {**value, "message": hide(str(value["message"]), self._secrets)}
        if value.get("event") == "tool-output-delta" and not isinstance(value.get("delta"), str):
            value = {**value, "delta": orjson.dumps(value["delta"], default=str).decode()}
        self._log(_named(TOOLS, ns), value)

    def take_task(self, ns: Namespace, value: Mapping[str, Any]) -> None:
        """Log what the start or the result of a task says about the subgraphs around it."""
        self._subgraphs.take(ns, value)

    def take_checkpoint(self, entry: Entry, row: CheckpointRow) -> None:
        """Tell of a checkpoint in the entry that commits it, before the values it holds: clients pair the two so."""
        entry.add_event(_named(CHECKPOINTS, (row.ns,) if row.ns else ()), encode(_envelope(row)))
        values = _named("values", (row.ns,) if row.ns else ())
        place = next((place for place, event in enumerate(entry.events) if event[0] == values), None)
        if place is not None:
            entry.events.insert(place, entry.events.pop())

    def cut_short(self, past: Iterable[LogEvent]) -> None:
        """End, as failed, the messages and calls that an attempt which died had begun: nobody goes on with them."""
        for name, event in _unfinished(past):
            self._log(name, event)

    def __enter__(self) -> "Transcript":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The graph is through, or failed: what is still open of its subgraphs ends with it."""
        if error is None:
            self._subgraphs.finalize()
        elif isinstance(error, Exception):  # one that was stopped may go on in the next attempt
            self._subgraphs.fail(error)


class _Messages(StreamMessagesHandlerV2):
    """Also tells of a message that its model broke off."""

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> Any:
        """End the message, if one had begun."""
        meta = self.metadata.get(run_id)
        if meta and run_id in self._streamed_run_ids:
            event = {"event": "error", "message": str(error) or type(error).__name__}
            self.stream((meta[0], "messages", (event, {**meta[1], "run_id": str(run_id)})))
        return super().on_llm_error(error, run_id=run_id, parent_run_id=parent_run_id, **kwargs)


class Subgraphs(LifecycleTransformer):
    """Logs when subgraphs start and how they end, as LangGraph infers it from their tasks."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._emit = log
        self._names: dict[Namespace, str] = {}

    def take(self, ns: Namespace, task: Mapping[str, Any]) -> None:
        """Take the start or the result of a task of the graph at `ns`."""
        self.process(
            {"type": "event", "method": "tasks", "params": {"namespace": list(ns), "timestamp": 0, "data": task}}
        )

    def _on_started(self, ns: Namespace, graph_name: str | None, trigger_call_id: str | None) -> None:
        if trigger_call_id is None:
            return
        self._names[ns] = graph_name or ""
        data: JsonObject = {"event": "started", "namespace": ns, "graph_name": graph_name or ""}
        data["trigger_call_id"] = trigger_call_id
        if self._pending_cause is not None:
            data["cause"] = self._pending_cause
        self._emit(_named(LIFECYCLE, ns), data)

    def _on_terminal(self, ns: Namespace, status: SubgraphStatus, error: str | None) -> None:
        if status == "drained":
            return  # the next attempt goes on with it
        data: JsonObject = {"event": status, "namespace": ns, "graph_name": self._names.get(ns, "")}
        if error is not None:
            data["error"] = error
        self._emit(_named(LIFECYCLE, ns), data)


def _envelope(row: CheckpointRow) -> JsonObject:
    """What is told of a checkpoint: enough to show the line of them, and to fork there."""
    metadata = orjson.loads(row.metadata)
    parent = {"parent_id": row.parent} if row.parent else {}
    return {"id": row.id, **parent, "step": metadata.get("step"), "source": metadata.get("source")}


def _named(name: str, ns: Namespace) -> str:
    return "|".join((name, *ns))


def _complete(event: JsonObject, message_id: str | None, role: str | None) -> JsonObject:
    """Add the message's id to each of its events, so that two at once can be told apart, also from the middle on."""
    if message_id is not None:
        event["id"] = message_id
    if role is not None and "role" in event:
        event["role"] = role
    return event


def _unfinished(past: Iterable[LogEvent]) -> list[tuple[str, JsonObject]]:
    messages: dict[tuple[str, str], JsonObject] = {}
    calls: dict[tuple[str, str], JsonObject] = {}
    for event in past:
        name = event.name.partition("|")[0]
        if name not in (MESSAGES, TOOLS):
            continue
        data = orjson.loads(event.data)
        match data.get("event"):
            case "message-start":
                ended = {"event": "error", "message": CUT_SHORT, "id": data["id"]}
                messages[event.name, data["id"]] = ended
            case "message-finish" | "error":
                messages.pop((event.name, data.get("id", "")), None)
            case "tool-started":
                ended = {"event": "tool-error", "tool_call_id": data["tool_call_id"], "message": CUT_SHORT}
                calls[event.name, data["tool_call_id"]] = ended
            case "tool-finished" | "tool-error":
                calls.pop((event.name, data["tool_call_id"]), None)
    return [(name, ended) for open_ones in (messages, calls) for (name, _), ended in open_ones.items()]
