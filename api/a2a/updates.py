"""Owns what an agent is told while a task works: the answer as it grows, read from the run's log."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import orjson
from a2a.helpers.proto_helpers import new_text_part
from a2a.types import Role, TaskState, TaskStatus, TaskStatusUpdateEvent

from threadline.api.a2a.views import name_of
from threadline.api.conversation import text_of
from threadline.runs.model import METADATA, RUN_ENDED, LogEvent, LogRow
from threadline.runs.tasks import Task

_TOKENS = "messages"
_SPEAKERS = ("ai", "AIMessageChunk")


class Updates:
    """Turns rows of a thread's log into what is told of one task: each time all of the answer there is so far.

    Several chunks that arrive together are told at once.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._texts: dict[str, str] = {}
        self.has_ended = False

    def take(self, rows: Sequence[LogRow]) -> Iterator[TaskStatusUpdateEvent]:
        """Yield what is new."""
        has_begun = False
        grown: dict[str, int] = {}
        for row in rows:
            if row.run_id != self._task.run_id:
                continue
            for event in row.events():
                if event.name == METADATA:
                    # Another attempt says it all again.
                    self._texts.clear()
                    grown.clear()
                    has_begun = True
                elif event.name == _TOKENS and (message_id := self._grow(event)):
                    grown[message_id] = event.time
                elif event.name == RUN_ENDED:
                    self.has_ended = True
        if has_begun and not grown:
            yield self._working(None)
        for message_id in grown:
            yield self._working(message_id)

    def _grow(self, event: LogEvent) -> str | None:
        message, _ = orjson.loads(event.data)
        text = text_of(message.get("content"))
        if message.get("type") not in _SPEAKERS or not text:
            return None
        message_id = str(message.get("id"))
        is_chunk = message["type"] != "ai"
        self._texts[message_id] = self._texts.get(message_id, "") + text if is_chunk else text
        return message_id

    def _working(self, message_id: str | None) -> TaskStatusUpdateEvent:
        task_id, context_id = name_of(self._task), str(self._task.thread_id)
        status = TaskStatus(state=TaskState.TASK_STATE_WORKING, timestamp=datetime.now(UTC))
        if message_id is not None:
            status.message.message_id = message_id
            status.message.role = Role.ROLE_AGENT
            status.message.task_id, status.message.context_id = task_id, context_id
            status.message.parts.append(new_text_part(self._texts[message_id]))
        return TaskStatusUpdateEvent(task_id=task_id, context_id=context_id, status=status)
