"""Owns what earlier attempts of a run have logged, so that a later one reports committed work once."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson

from threadline.runs.model import INPUT_REQUESTED, MESSAGES, NODE_FINISHED, TOOLS, LogEvent


class Past:
    """The memory of the attempts before this one; empty for the first.

    A resumed attempt is handed the writes of finished tasks by LangGraph, which emits them again as cached
    updates, and the state it starts from as values.
    """

    def __init__(self, events: Iterable[LogEvent] = ()) -> None:
        self._finished: dict[str, str] = {}
        self._values: set[str] = set()
        self._continued: set[str] = set()
        self._checkpoints: set[tuple[str, str]] = set()
        self._repeats: Counter[str] = Counter()
        self.has_requested_input = False
        self.continues = False  # whether this attempt goes on from a checkpoint that an earlier one made
        self.transcript: list[LogEvent] = []  # of messages and calls of tools, begun and ended
        for event in events:
            self._learn(event)

    def _learn(self, event: LogEvent) -> None:
        mode, _, path = event.name.partition("|")
        if event.name == NODE_FINISHED:
            task = orjson.loads(event.data)
            if task["error"] is None:
                self._finished[task["id"]] = task["name"]
        elif event.name == INPUT_REQUESTED:
            self.has_requested_input = True
            self._finished.pop(orjson.loads(event.data)["task_id"], None)
        elif mode == "values":
            self._values.add(path)
        elif mode in (MESSAGES, TOOLS):
            self.transcript.append(event)
        elif mode in ("checkpoints", "debug"):
            value = orjson.loads(event.data)
            checkpoint = value.get("payload", value)
            if "config" in checkpoint:
                self._checkpoints.add((mode, checkpoint["config"]["configurable"]["checkpoint_id"]))

    def starts(self, task_id: str, name: str) -> bool:
        """Whether the start of this task is news; a finished one is only shown again by LangGraph."""
        if task_id in self._finished:
            self._repeats[name] += 1
            return False
        return True

    def has_finished(self, update: dict[str, Any]) -> bool:
        """Whether a cached update is of a task whose end an earlier attempt logged."""
        for name in update:
            if self._repeats[name] > 0:
                self._repeats[name] -= 1
                return True
        return False

    def has_values(self, path: str, *, resumed: bool) -> bool:
        """Whether the state this attempt starts from was logged by an earlier one.

        A checkpoint of ours was committed with its values, if it has any to report: that of the input has none.
        """
        if resumed and (path in self._values or (self.continues and path not in self._continued)):
            self._values.discard(path)
            self._continued.add(path)
            return True
        return False

    def knows(self, task_id: str) -> bool:
        """Whether an earlier attempt logged the end of this task."""
        return task_id in self._finished

    def has_checkpoint(self, mode: str, checkpoint_id: str) -> bool:
        """Whether an earlier attempt logged this checkpoint in this mode."""
        return (mode, checkpoint_id) in self._checkpoints
