"""Owns what each method of A2A does: a task is found in, or made of, the runs of a thread.

How requests and answers look on the wire, in both versions of the protocol, is the official SDK's.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import NoReturn

from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskArtifactUpdateEvent,
    TaskPushNotificationConfig,
    TaskStatusUpdateEvent,
)
from a2a.types import Task as TaskView
from a2a.utils.errors import (
    ExtendedAgentCardNotConfiguredError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from a2a.utils.proto_utils import validate_proto_required_fields

from threadline.api.a2a.acceptance import Acceptance
from threadline.api.a2a.card import HISTORY_SCOPE
from threadline.api.a2a.faults import told_to_agents
from threadline.api.a2a.listing import list_tasks
from threadline.api.a2a.updates import Updates
from threadline.api.a2a.views import name_of, read_name, view
from threadline.api.departures import Stopping
from threadline.runs.engine import Engine
from threadline.runs.errors import NothingToCancel
from threadline.runs.interfaces import Interfaces
from threadline.runs.model import Assistant, CancelAction
from threadline.runs.tasks import State, Task, Tasks

PATIENCE = 60.0  # seconds between two looks at a log that is told of news anyway


class AgentRequests(RequestHandler):
    """The methods, for the assistants of one engine. `context.state` names the assistant and holds the headers."""

    def __init__(self, engine: Engine, stopping: Stopping, interfaces: Interfaces) -> None:
        self._engine = engine
        self._stopping = stopping
        self._tasks = Tasks(engine.pool)
        self._acceptance = Acceptance(engine.queue, self._tasks, interfaces)

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> TaskView | Message:
        """Begin a task or answer its question, and wait for what comes of it unless told not to."""
        with told_to_agents():
            task = await self._accept(params, context)
            if not params.configuration.return_immediately:
                await self._wait(task)
            return await self._view(await self._again(task), context, params.configuration)

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Begin a task or answer its question, and tell what becomes of it."""
        with told_to_agents():
            task = await self._accept(params, context)
            yield await self._view(task, context, params.configuration)
            async for event in self._follow(task):
                yield event

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Tell a task as it is, and what becomes of it."""
        with told_to_agents():
            validate_proto_required_fields(params)
            task = await self._find(params.id, context)
            if task.state.is_final:
                raise UnsupportedOperationError(f"Task {params.id} has ended: its state is {task.state}")
            yield await self._view(task, context)
            if task.state is not State.INPUT_REQUIRED:
                async for event in self._follow(task):
                    yield event

    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> TaskView:
        """Return a task as it is."""
        with told_to_agents():
            validate_proto_required_fields(params)
            return await self._view(await self._find(params.id, context), context, params)

    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Return a page of the assistant's tasks, newest first."""
        with told_to_agents():
            return await list_tasks(self._engine, self._tasks, await self._assistant(context), params)

    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> TaskView:
        """Stop a task and return it."""
        with told_to_agents():
            validate_proto_required_fields(params)
            task = await self._find(params.id, context)
            try:
                await self._engine.queue.cancel(task.thread_id, task.run_id, CancelAction.INTERRUPT)
            except NothingToCancel:
                raise TaskNotCancelableError(f"Task {params.id} is not at work: its state is {task.state}") from None
            await self._wait(task)
            return await self._view(await self._again(task), context)

    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """There is one card for everybody."""
        raise ExtendedAgentCardNotConfiguredError

    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> NoReturn:
        """Nothing is pushed."""
        raise PushNotificationNotSupportedError

    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> NoReturn:
        """Nothing is pushed."""
        raise PushNotificationNotSupportedError

    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """Nothing is pushed."""
        raise PushNotificationNotSupportedError

    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Nothing is pushed."""
        raise PushNotificationNotSupportedError

    async def _accept(self, params: SendMessageRequest, context: ServerCallContext) -> Task:
        validate_proto_required_fields(params)
        assistant = await self._assistant(context)
        return await self._acceptance.accept(assistant, params, context.state.get("trace_parent"))

    async def _assistant(self, context: ServerCallContext) -> Assistant:
        return await self._engine.assistants.get(context.state["assistant_id"])

    async def _find(self, name: str, context: ServerCallContext) -> Task:
        assistant = await self._assistant(context)
        ids = read_name(name)
        task = await self._tasks.find(*ids) if ids else None
        if task is None or task.assistant_id != assistant.assistant_id:
            raise TaskNotFoundError(f"Task {name} not found")
        return task

    async def _again(self, task: Task) -> Task:
        found = await self._tasks.find(task.thread_id, task.task_id)
        if found is None:
            raise TaskNotFoundError(f"Task {name_of(task)} was removed")
        return found

    async def _view(
        self, task: Task, context: ServerCallContext, asked: SendMessageConfiguration | GetTaskRequest | None = None
    ) -> TaskView:
        length = None
        if asked is not None and asked.HasField("history_length"):
            length = asked.history_length
            if length < 0:
                raise InvalidParamsError(f"historyLength must not be negative, but is {length}")
        scope = context.state.get("headers", {}).get(HISTORY_SCOPE.lower(), "task")
        return await view(self._engine, task, history_length=length, whole_context=scope == "context")

    async def _wait(self, task: Task) -> None:
        """Wait for the end of the task's run; a server that stops answers with the task as it is."""
        run = await self._engine.queue.get(task.thread_id, task.run_id)
        result = asyncio.ensure_future(self._engine.tails.result(run))
        stopped = asyncio.Event()
        stopper = asyncio.ensure_future(stopped.wait())
        self._stopping.watch(stopped.set)
        try:
            await asyncio.wait((result, stopper), return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                result.result()
        finally:
            self._stopping.unwatch(stopped.set)
            result.cancel()
            stopper.cancel()

    async def _follow(self, task: Task) -> AsyncGenerator[Event, None]:
        """Yield what is told of the task's run, from its beginning to its end."""
        run = await self._engine.queue.get(task.thread_id, task.run_id)
        updates = Updates(task)
        async with self._engine.tails.follow(task.thread_id, run.start_seq) as subscription:
            while not updates.has_ended:
                for event in updates.take(await subscription.next_rows(PATIENCE)):
                    yield event
        shown = await view(self._engine, await self._again(task))
        for artifact in shown.artifacts:
            yield TaskArtifactUpdateEvent(
                task_id=shown.id, context_id=shown.context_id, artifact=artifact, append=False, last_chunk=True
            )
        yield TaskStatusUpdateEvent(task_id=shown.id, context_id=shown.context_id, status=shown.status)
