"""A server with keys serves clients as ever, and leaves nothing of what they said in its database in plain text."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import BadRequestError, InternalServerError, UnprocessableEntityError

from threadline.api.app import create_app
from threadline.checkpoints.pool import Database, open_pool
from threadline.graphs.registry import Registry
from threadline.replay.edits import Edit
from threadline.replay.export import export
from threadline.replay.fork import fork
from threadline.runs.engine import open_engine
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import Serve, engine_settings
from threadline.tests.checkpoints.sealed_world import NEW, find_in_database, vault_with
from threadline.tests.laboratory.places import reach
from threadline.tests.runs.life_world import eventually

CANARY = "canary-4b1d"


@pytest.fixture
def database(dsn: str) -> Database:
    return replace(reach(dsn, pooled=False), vault=vault_with(NEW))


@pytest.fixture
def url(database: Database, registry: Registry, serve: Serve) -> Iterator[str]:
    app: FastAPI = create_app(lambda: open_engine(database, registry, engine_settings()), ApiSettings())
    with serve(app) as served:
        yield served.url


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=url, api_key=None) as client:
        yield client


@pytest.fixture
def change(dsn: str) -> Callable[[str], int]:
    """Change the database behind the server's back, and return how many rows that were."""

    def execute(statement: str) -> int:
        with psycopg.connect(dsn, autocommit=True) as connection:
            return connection.execute(statement.encode()).rowcount

    return execute


async def test_nothing_that_clients_said_lies_in_the_database(sdk: LangGraphClient, dsn: str) -> None:
    given: Any = {"n": 1, "text": CANARY}
    thread = (await sdk.threads.create())["thread_id"]
    parts = [part async for part in sdk.runs.stream(thread, "steps", input=given, stream_mode=["values", "updates"])]
    assert parts[-1].data == {"n": 4, "text": CANARY, "log": ["plan", "act", "tell"]}
    await sdk.threads.update_state(thread, {"log": [CANARY]})
    config: Any = {"tags": [CANARY], "configurable": {"user": {"name": CANARY}}}
    await sdk.runs.wait(thread, "steps", input=given, config=config)
    shown: Any = await sdk.threads.get(thread)
    assert shown["values"]["text"] == CANARY
    assert len(await sdk.threads.get_history(thread, limit=100)) > 8
    runs: Any = await sdk.runs.list(thread)
    assert {run["kwargs"]["input"]["text"] for run in runs} == {CANARY}
    asked: Any = await sdk.runs.wait(None, "asking", input=given)
    assert asked["text"] == CANARY
    failed: Any = await sdk.runs.wait(None, "failing", input=given, raise_error=False)
    assert failed["__error__"]["message"] == "kaboom"
    await sdk.threads.copy(thread)
    cron: Any = await sdk.crons.create("steps", schedule="0 0 1 1 *", input=given)
    found: Any = await sdk.crons.search()
    assert [each["payload"]["input"] for each in found if each["cron_id"] == cron["cron_id"]] == [given]
    await sdk.store.put_item(["notes", "a"], "k", {"text": CANARY})
    item = await sdk.store.get_item(["notes", "a"], "k")
    assert item["value"] == {"text": CANARY}
    assert (await sdk.store.search_items(["notes"]))["items"][0]["value"] == {"text": CANARY}
    for text in (CANARY, "kaboom", "ok?"):
        assert find_in_database(dsn, text) == []


async def test_a_pending_run_that_is_cancelled_ends_with_the_threads_values(sdk: LangGraphClient, dsn: str) -> None:
    thread = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread, "steps", input={"n": 1, "text": CANARY})
    waiting = await sdk.runs.create(thread, "steps", input={"text": CANARY}, after_seconds=600)
    await sdk.runs.cancel(thread, waiting["run_id"])
    assert (await sdk.runs.get(thread, waiting["run_id"]))["status"] == "interrupted"
    ended: Any = await sdk.runs.join(thread, waiting["run_id"])
    assert ended["text"] == CANARY
    assert find_in_database(dsn, CANARY) == []


async def test_what_is_made_under_an_idempotency_key_is_encrypted_too(sdk: LangGraphClient, dsn: str) -> None:
    thread = (await sdk.threads.create())["thread_id"]
    given: Any = {"n": 1, "text": CANARY}
    headers = {"Idempotency-Key": "one"}
    made = [await sdk.runs.create(thread, "steps", input=given, headers=headers) for _ in range(2)]
    assert made[0]["run_id"] == made[1]["run_id"]
    ended: Any = await sdk.runs.join(thread, made[0]["run_id"])
    assert ended["text"] == CANARY
    assert find_in_database(dsn, CANARY) == []


async def test_an_answered_question_goes_on(sdk: LangGraphClient) -> None:
    thread = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread, "asking", input={"n": 1})
    answered: Any = await sdk.runs.wait(thread, "asking", command={"resume": CANARY})
    assert f"answer {CANARY}" in answered["log"]


async def read(url: str) -> str:
    """Return what a fresh client is told from the first event on."""
    async with httpx.AsyncClient(timeout=20) as http:
        return (await http.get(url, headers={"Last-Event-ID": "-"})).text


async def test_another_process_resumes_a_stream_and_tells_where_it_was_tampered_with(
    url: str, sdk: LangGraphClient, database: Database, registry: Registry, serve: Serve, change: Callable[[str], int]
) -> None:
    thread = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread, "steps", input={"n": 1, "text": CANARY})
    (run,) = await sdk.runs.list(thread)
    path = f"/threads/{thread}/runs/{run['run_id']}/stream"
    seen = await read(url + path)
    app = create_app(lambda: open_engine(database, registry, engine_settings()), ApiSettings())
    with serve(app) as other:
        assert await read(other.url + path) == seen
    assert CANARY in seen
    changed = (
        "update run_events set payload = set_byte(payload, 80, 255 - get_byte(payload, 80)) where length(payload) > 90"
    )
    assert change(changed) > 0
    with serve(create_app(lambda: open_engine(database, registry, engine_settings()), ApiSettings())) as other:
        told = await read(other.url + path)
        ended = await read(f"{other.url}/threads/{thread}/runs/{run['run_id']}/join")
    assert "event: error" in told
    assert f"run_events.payload of {thread}" in told
    assert "is not what was encrypted there" in ended


async def test_searching_by_what_is_encrypted_is_refused_and_by_metadata_is_not(sdk: LangGraphClient) -> None:
    thread = (await sdk.threads.create(metadata={"owner": "ann"}))["thread_id"]
    with pytest.raises(UnprocessableEntityError, match="values cannot be searched: they are encrypted"):
        await sdk.threads.search(values={"text": CANARY})
    with pytest.raises(BadRequestError, match="cannot be filtered"):
        await sdk.store.search_items(["notes"], filter={"text": CANARY})
    assert [found["thread_id"] for found in await sdk.threads.search(metadata={"owner": "ann"})] == [thread]


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        (
            'update threads t set "values" = o."values" from threads o where o.thread_id <> t.thread_id',
            "threads.values",
        ),
        ("update runs r set kwargs = o.kwargs from runs o where o.run_id <> r.run_id", "runs.kwargs"),
        ("update runs set kwargs = '{\"input\": {}}'", "runs.kwargs"),
    ],
    ids=["values of another thread", "input of another run", "plain text"],
)
async def test_a_row_from_elsewhere_is_refused_and_named(
    sdk: LangGraphClient, change: Callable[[str], int], statement: str, place: str
) -> None:
    threads = [(await sdk.threads.create())["thread_id"] for _ in range(2)]
    for thread in threads:
        await sdk.runs.wait(thread, "steps", input={"n": 1, "text": CANARY})
    assert change(statement) == 2
    with pytest.raises(InternalServerError, match=place):
        await (sdk.threads.get(threads[0]) if place.startswith("threads") else sdk.runs.list(threads[0]))


async def test_a_run_whose_input_cannot_be_opened_ends_as_an_error_that_says_so(
    sdk: LangGraphClient, change: Callable[[str], int]
) -> None:
    thread = (await sdk.threads.create())["thread_id"]
    run: Any = await sdk.runs.create(thread, "steps", input={"n": 1}, after_seconds=600)
    assert change('update runs set kwargs = \'{"input": {"n": 7}}\', due_at = now()') == 1

    async def has_ended() -> bool:
        return (await sdk.threads.get(thread))["status"] == "error"

    await eventually(has_ended)
    ended: Any = await sdk.threads.get(thread)
    assert f"runs.kwargs of {run['run_id']} lies there in plain text" in ended["error"]["message"]


async def test_a_fork_and_an_export_hold_what_was_said(
    sdk: LangGraphClient, database: Database, dsn: str, tmp_path: Path
) -> None:
    thread = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread, "steps", input={"n": 1, "text": CANARY})
    async with open_pool(database, "test") as pool:
        made = await fork(pool, UUID(thread), None, [Edit.parse("text=other-canary")])
        await export(pool, tmp_path, thread_id=UUID(thread))
    state: Any = await sdk.threads.get_state(str(made.thread_id))
    assert state["values"]["text"] == "other-canary"
    for name in ("threads", "runs", "events", "steps"):
        assert CANARY in (tmp_path / f"{name}.jsonl").read_text()
    assert find_in_database(dsn, CANARY) == []
