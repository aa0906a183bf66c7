"""What a request for a run may say about its trace."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from threadline.api.run_requests import run_on_thread, run_without_thread
from threadline.api.schemas import RunCreate
from threadline.runs.model import Assistant, JsonObject

PARENT = {"langsmith-trace": "20260131T120000000000Z" + str(uuid4())}


def kwargs_of(parent: JsonObject | None = None, **body: Any) -> list[JsonObject]:
    now = datetime.now(UTC)
    assistant = Assistant(uuid4(), "quick", "quick", None, {}, {}, {}, 1, now, now)
    parsed = RunCreate.model_validate({"assistant_id": "quick", **body})
    requests = (run_on_thread(uuid4(), parsed, assistant, parent), run_without_thread(parsed, assistant, parent))
    return [request.kwargs for request in requests]


def test_project_example_and_parent_are_kept_with_the_run() -> None:
    tracer = {"project_name": "evaluation", "example_id": str(uuid4())}
    for kwargs in kwargs_of(PARENT, langsmith_tracer=tracer):
        assert (kwargs["langsmith_tracer"], kwargs["trace_parent"]) == (tracer, PARENT)


def test_a_run_that_asks_for_nothing_keeps_nothing() -> None:
    for kwargs in kwargs_of():
        assert not {"langsmith_tracer", "trace_parent"} & kwargs.keys()


def test_a_client_cannot_name_a_parent_past_the_headers() -> None:
    for kwargs in kwargs_of(trace_parent=PARENT):
        assert "trace_parent" not in kwargs


@pytest.mark.parametrize(
    "tracer", ["evaluation", {"project_name": ""}, {"project_name": "a\0"}, {"example_id": "one"}, {"project_name": 1}]
)
def test_a_tracer_that_is_none_is_refused(tracer: object) -> None:
    with pytest.raises(ValidationError, match="langsmith_tracer"):
        kwargs_of(langsmith_tracer=tracer)
