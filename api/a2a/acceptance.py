"""Owns what becomes of a message: the first of a new task, or the answer that a task waits for."""

from dataclasses import replace
from uuid import UUID

from a2a.types import Message, SendMessageRequest
from a2a.utils.errors import (
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from pydantic import ValidationError

from threadline.api.a2a.messages import answer_of, content_of
from threadline.api.a2a.views import read_name
from threadline.api.conversation import MESSAGES, takes_messages, user_message
from threadline.api.errors import invalid_model
from threadline.api.run_requests import run_on_thread
from threadline.api.schemas import RunCreate
from threadline.runs.identity import uuid7
from threadline.runs.interfaces import Interfaces
from threadline.runs.model import Assistant, JsonObject
from threadline.runs.queue import Queue
from threadline.runs.tasks import MESSAGE, TASK, State, Task, Tasks

# What makes up the answer, as it is given and when it is there.
MODES = ["messages-tuple", "values"]


class Acceptance:
    """Makes runs of messages."""

    def __init__(self, queue: Queue, tasks: Tasks, interfaces: Interfaces) -> None:
        self._queue = queue
        self._tasks = tasks
        self._interfaces = interfaces

    async def accept(self, assistant: Assistant, params: SendMessageRequest, parent: JsonObject | None) -> Task:
        """Accept the message; what it asks for is committed when this returns. Raises A2AError and RunError."""
        if params.configuration.HasField("task_push_notification_config"):
            raise PushNotificationNotSupportedError
        message = params.message
        await _refuse_strangers(self._interfaces, assistant)
        before = await _continued(self._tasks, assistant, message) if message.task_id else None
        body = _body(assistant, message, before)
        thread_id = before.thread_id if before else _thread_id(message)
        request = run_on_thread(thread_id, body, assistant, parent)
        task_id = before.task_id if before else request.run_id
        if before is None:
            # The task's own message, to be found again in the conversation.
            request.kwargs["input"][MESSAGES][0]["id"] = str(task_id)
        request = replace(request, metadata={**request.metadata, TASK: str(task_id)})
        run = await self._queue.create(request)
        found = await self._tasks.find(run.thread_id, task_id)
        if found is None:
            raise TaskNotFoundError(f"Task {message.task_id or task_id} was removed")
        return replace(found, state=State.SUBMITTED) if before is None else found


async def _refuse_strangers(interfaces: Interfaces, assistant: Assistant) -> None:
    if not takes_messages((await interfaces.of(assistant)).input):
        raise InvalidParamsError(
            f"Assistant {assistant.name} cannot be talked to: the input of its graph must include a 'messages' field. "
            "Start a run of it instead."
        )


async def _continued(tasks: Tasks, assistant: Assistant, message: Message) -> Task:
    """Return the task that the message goes on with."""
    ids = read_name(message.task_id)
    task = await tasks.find(*ids) if ids else None
    if task is None or task.assistant_id != assistant.assistant_id:
        raise TaskNotFoundError(f"Task {message.task_id} not found")
    if message.context_id and message.context_id != str(task.thread_id):
        raise InvalidParamsError(f"Task {message.task_id} is not of context {message.context_id}")
    if task.state is not State.INPUT_REQUIRED:
        raise UnsupportedOperationError(
            f"Task {message.task_id} waits for nothing: its state is {task.state}. "
            "Leave taskId out to begin another one in the same context."
        )
    return task


def _body(assistant: Assistant, message: Message, before: Task | None) -> RunCreate:
    labels = {MESSAGE: message.message_id}
    fields: JsonObject = {"assistant_id": str(assistant.assistant_id), "stream_mode": MODES, "metadata": labels}
    if before is None:
        values = {MESSAGES: [user_message(content_of(message.parts))]}
        fields |= {"input": values, "if_not_exists": "create"}
    else:
        # Two answers to one question: the second must not wait for the first to answer something else.
        fields |= {"command": {"resume": answer_of(message.parts)}, "multitask_strategy": "reject"}
    try:
        return RunCreate.model_validate(fields)
    except ValidationError as error:
        raise InvalidParamsError(str(invalid_model(error, whole="message"))) from None


def _thread_id(message: Message) -> UUID:
    if not message.context_id:
        return uuid7()
    try:
        return UUID(message.context_id)
    except ValueError:
        raise InvalidParamsError(
            f"contextId must be a UUID, the id of a thread, not {message.context_id!r}. Leave it out to get one."
        ) from None
