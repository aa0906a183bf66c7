"""Owns the proof that a request of the documented form, or of nearly that form, gets a documented answer.

The requests are made from our own document, the same ones each time; what a client is told of an error is checked,
too. Where a request needs something that exists, half of them name it.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, strategies
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

# The server, in a thread of this process, takes random numbers while a case is drawn; that is no strategy's doing.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

QUICK = 4  # requests for each operation, valid and invalid each
THOROUGH = 60
# A run that is waited for may take its time, and a stream has no end.
PATIENCE = 10.0


@pytest.fixture(scope="module")
def known(url: str) -> dict[str, str]:
    """Ids of what exists."""
    thread = requests.post(f"{url}/threads", json={}, timeout=PATIENCE).json()["thread_id"]
    run = requests.post(f"{url}/threads/{thread}/runs", json={"assistant_id": "steps", "input": {}}, timeout=PATIENCE)
    run_id = run.json()["run_id"]
    requests.get(f"{url}/threads/{thread}/runs/{run_id}/join", timeout=PATIENCE).raise_for_status()
    checkpoint = requests.get(f"{url}/threads/{thread}/state", timeout=PATIENCE).json()["checkpoint"]["checkpoint_id"]
    return {"thread_id": thread, "run_id": run_id, "checkpoint_id": checkpoint, "assistant_id": "steps"}


def check_operations(url: str, known: dict[str, str], *, examples: int) -> None:
    """Send requests to each operation of the document, and check each answer against it."""
    document = requests.get(f"{url}/openapi.json", timeout=PATIENCE).json()
    schema = schemathesis.openapi.from_dict(document)
    problems: list[str] = []
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]  # the document is ours, and has no invalid operation
            documented = document["paths"][operation.path][operation.method.lower()]["responses"]
            for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
                cases = operation.as_strategy(generation_mode=mode)

                def check(case: Any, names: bool, documented: Any = documented) -> None:
                    if names:
                        name_known(case, known)
                    problems.extend(problems_of_answer(session, case, url, documented))

                send_all(check, cases, examples)
    assert not problems, "\n".join(problems)


def send_all(check: Callable[[Any, bool], None], cases: Any, examples: int) -> None:
    """Check that many of the cases, the same each time."""

    @hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @given(case=cases, names=strategies.booleans())
    def send(case: Any, names: bool) -> None:
        check(case, names)

    with suppress(Unsatisfiable):  # an operation without parameters and body has no invalid request
        send()


def name_known(case: Any, known: dict[str, str]) -> None:
    for name in case.path_parameters or {}:
        if name in known:
            case.path_parameters[name] = known[name]
    if isinstance(case.body, dict) and "assistant_id" in case.body:
        case.body["assistant_id"] = known["assistant_id"]


def problems_of_answer(session: requests.Session, case: Any, url: str, documented: Any) -> Iterator[str]:
    """Yield what the document does not say."""
    request = case.as_transport_kwargs(base_url=url)
    with session.request(**request, stream=True, timeout=PATIENCE) as response:
        sent = response.request
        told = f"{sent.method} {sent.url} {sent.body!r}: {response.status_code}"
        is_spoilt = response.status_code in (404, 405)  # another route answers for such a path, or none
        if response.status_code == 500 or not (str(response.status_code) in documented or is_spoilt):
            yield told
        if response.status_code >= 400:
            body = response.json()
            if not isinstance(body.get("detail", body.get("error")), str | dict):
                yield f"{told} {body}"


def test_any_request_is_answered_as_the_document_says(url: str, known: dict[str, str]) -> None:
    check_operations(url, known, examples=QUICK)


@pytest.mark.slow  # thousands of requests: minutes
def test_many_more_requests_are_answered_as_the_document_says(url: str, known: dict[str, str]) -> None:
    check_operations(url, known, examples=THOROUGH)


def test_the_document_names_every_status_instead_of_any(url: str) -> None:
    for operations in requests.get(f"{url}/openapi.json", timeout=PATIENCE).json()["paths"].values():
        for operation in operations.values():
            assert "default" not in operation["responses"]
            assert {"422", "503"} <= set(operation["responses"])
