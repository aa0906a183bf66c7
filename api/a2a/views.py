"""Owns how a task looks to an agent: its state, its history, its artifact, all read from the runs it is made of."""

from collections.abc import Iterable
from uuid import UUID

import orjson
from a2a.helpers.proto_helpers import new_data_part, new_text_part
from a2a.types import Artifact, Message, Part, Role, TaskState, TaskStatus
from a2a.types import Task as TaskView

from threadline.api.a2a.messages import message_of, question_of
from threadline.api.conversation import MESSAGES
from threadline.runs.engine import Engine
from threadline.runs.model import JsonObject, Run
from threadline.runs.tasks import State, Task

INTERRUPT = "__interrupt__"
ARTIFACT = "Assistant Response"

STATES = {
    State.SUBMITTED: TaskState.TASK_STATE_SUBMITTED,
    State.WORKING: TaskState.TASK_STATE_WORKING,
    State.INPUT_REQUIRED: TaskState.TASK_STATE_INPUT_REQUIRED,
    State.COMPLETED: TaskState.TASK_STATE_COMPLETED,
    State.FAILED: TaskState.TASK_STATE_FAILED,
    State.CANCELED: TaskState.TASK_STATE_CANCELED,
}


def name_of(task: Task) -> str:
    """Return the id that agents know the task by."""
    return f"{task.thread_id}:{task.task_id}"


def read_name(name: str) -> tuple[UUID, UUID] | None:
    """Return the thread and the first run in a task's id, None when it is none."""
    thread_id, _, task_id = name.partition(":")
    try:
        return UUID(thread_id), UUID(task_id)
    except ValueError:
        return None


async def view(
    engine: Engine, task: Task, *, history_length: int | None = None, whole_context: bool = False
) -> TaskView:
    """Return the task as it is. Raises RunNotFound when a run of it was deleted."""
    run = await engine.queue.get(task.thread_id, task.run_id)
    has_ended = task.state.is_final or task.state is State.INPUT_REQUIRED
    values = await _values(engine, run) if has_ended else {}
    told = values.get(MESSAGES) if has_ended else await _input(engine, task, run)
    own = _since(told if isinstance(told, list) else [], str(task.task_id))
    history = (told if whole_context and isinstance(told, list) else own) or []
    shown = TaskView(
        id=name_of(task),
        context_id=str(task.thread_id),
        status=_status(task, run, values),
        history=_last(_messages(history, task), history_length),
    )
    if task.state is State.COMPLETED and (parts := _result(own, values)):
        shown.artifacts.append(
            Artifact(artifact_id=str(task.run_id), name=ARTIFACT, description="What the assistant answers", parts=parts)
        )
    return shown


def _status(task: Task, run: Run, values: JsonObject) -> TaskStatus:
    status = TaskStatus(state=STATES[task.state], timestamp=task.changed_at)
    names = (str(run.run_id), name_of(task), str(task.thread_id))
    if task.state is State.INPUT_REQUIRED:
        status.message.CopyFrom(question_of(values.get(INTERRUPT) or [], *names))
    elif task.state is State.FAILED:
        error = run.error or {}
        text = f"{error.get('error', 'Error')}: {error.get('message', '')}".removesuffix(": ")
        status.message.CopyFrom(
            Message(
                message_id=names[0],
                role=Role.ROLE_AGENT,
                parts=[new_text_part(text)],
                task_id=names[1],
                context_id=names[2],
            )
        )
    return status


async def _values(engine: Engine, run: Run) -> JsonObject:
    """Return what the run left; when its end is no longer in the log, what the thread remembers."""
    result = await engine.tails.result(run)
    values = orjson.loads(result) if result is not None else (await engine.threads.get(run.thread_id)).values
    return values if isinstance(values, dict) else {}


async def _input(engine: Engine, task: Task, run: Run) -> list[JsonObject]:
    """Return what the task began with."""
    first = run if run.run_id == task.task_id else await engine.queue.get(task.thread_id, task.task_id)
    given = first.kwargs.get("input")
    messages = given.get(MESSAGES) if isinstance(given, dict) else None
    return messages if isinstance(messages, list) else []


def _since(messages: list[JsonObject], message_id: str) -> list[JsonObject]:
    """Return the messages from the task's first on; all of them where the graph has let go of that one."""
    for place, message in enumerate(messages):
        if isinstance(message, dict) and message.get("id") == message_id:
            return messages[place:]
    return messages


def _messages(messages: Iterable[JsonObject], task: Task) -> list[Message]:
    shown = []
    for message in messages:
        if not isinstance(message, dict):
            continue
        made = message_of(message, name_of(task), str(task.thread_id))
        if made is not None:
            if made.message_id == str(task.task_id) and task.message_id:
                made.message_id = task.message_id
            shown.append(made)
    return shown


def _last(messages: list[Message], length: int | None) -> list[Message]:
    if length is None:
        return messages
    return messages[-length:] if length else []


def _result(messages: list[JsonObject], values: JsonObject) -> list[Part]:
    """Return the last answer; of a graph that gives none, what else it leaves."""
    answers = [made for each in messages if isinstance(each, dict) and (made := message_of(each, "", "")) is not None]
    if answers and answers[-1].role == Role.ROLE_AGENT:
        return list(answers[-1].parts)
    others = {name: value for name, value in values.items() if name not in (MESSAGES, INTERRUPT)}
    return [new_data_part(others)] if others else []
