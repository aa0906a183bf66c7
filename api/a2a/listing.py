"""Owns pages of tasks: what an agent may ask for, and the token that leads to the next page."""

from datetime import UTC, datetime
from uuid import UUID

from a2a.types import ListTasksRequest, ListTasksResponse
from a2a.utils.constants import DEFAULT_LIST_TASKS_PAGE_SIZE, MAX_LIST_TASKS_PAGE_SIZE
from a2a.utils.errors import InvalidParamsError

from threadline.api.a2a.views import STATES, view
from threadline.runs.engine import Engine
from threadline.runs.errors import NotFound
from threadline.runs.model import Assistant
from threadline.runs.tasks import Task, TaskFilter, Tasks


async def list_tasks(engine: Engine, tasks: Tasks, assistant: Assistant, asked: ListTasksRequest) -> ListTasksResponse:
    """Return a page. Raises InvalidParamsError."""
    size = asked.page_size if asked.HasField("page_size") else DEFAULT_LIST_TASKS_PAGE_SIZE
    if not 1 <= size <= MAX_LIST_TASKS_PAGE_SIZE:
        raise InvalidParamsError(f"pageSize must be between 1 and {MAX_LIST_TASKS_PAGE_SIZE}, not {size}")
    wanted = _filter(assistant, asked)
    found = await tasks.list(wanted, limit=size + 1, before=_read_token(asked.page_token))
    page = ListTasksResponse(page_size=size, total_size=await tasks.count(wanted))
    for task in found[:size]:
        try:
            length = asked.history_length if asked.HasField("history_length") else None
            shown = await view(engine, task, history_length=length)
        except NotFound:
            continue  # deleted meanwhile
        if not asked.include_artifacts:
            del shown.artifacts[:]
        page.tasks.append(shown)
    if len(found) > size:
        page.next_page_token = _token(found[size - 1])
    return page


def _filter(assistant: Assistant, asked: ListTasksRequest) -> TaskFilter:
    states = {number: state for state, number in STATES.items()}
    if asked.status and asked.status not in states:
        raise InvalidParamsError("status: no task here is ever in that state")
    try:
        thread_id = UUID(asked.context_id) if asked.context_id else None
    except ValueError:
        raise InvalidParamsError(f"contextId must be a UUID, not {asked.context_id!r}") from None
    after = asked.status_timestamp_after
    changed_after = after.ToDatetime(UTC) if asked.HasField("status_timestamp_after") else None
    return TaskFilter(assistant.assistant_id, thread_id, states.get(asked.status), changed_after)


def _token(task: Task) -> str:
    return f"{task.created_at.isoformat()}/{task.task_id}"


def _read_token(token: str) -> tuple[datetime, UUID] | None:
    if not token:
        return None
    time, _, task_id = token.partition("/")
    try:
        return datetime.fromisoformat(time), UUID(task_id)
    except ValueError:
        raise InvalidParamsError("pageToken is not one that an answer gave") from None
