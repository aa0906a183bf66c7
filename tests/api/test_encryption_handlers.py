"""A project's own handlers encrypt whatever clients said, each tenant's with its key, in whichever process."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.encryption.types import EncryptionContext
from langgraph_sdk.errors import InternalServerError, UnprocessableEntityError

from threadline.api.app import create_app
from threadline.checkpoints.handler_vault import HandlerVault
from threadline.checkpoints.pool import open_pool
from threadline.checkpoints.rewriting import count_due, rewrite_all
from threadline.commands.databases import project_vault
from threadline.graphs.configuration import Configuration, load_configuration
from threadline.graphs.door import open_door
from threadline.graphs.registry import Registry
from threadline.replay.edits import Edit
from threadline.replay.fork import fork
from threadline.runs import worker
from threadline.runs.engine import open_engine
from threadline.settings import ApiSettings
from threadline.tests.api.conftest import GRAPHS, NAMES, Serve, engine_settings
from threadline.tests.checkpoints import project_encryption
from threadline.tests.checkpoints.sealed_world import find_in_database
from threadline.tests.laboratory.places import reach
from threadline.tests.runs.life_world import eventually

Project = Callable[..., Configuration]
Start = Callable[..., Any]
CANARY = "canary-77ae"
GIVEN: Any = {"n": 1, "text": CANARY}
AUTH = """
from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def authenticate(headers):
    return {"identity": headers.get(b"x-user", b"").decode()}
"""


def header(**context: Any) -> dict[str, str]:
    """Return the header that gives a request this context."""
    return {"X-Encryption-Context": b64encode(json.dumps(context).encode()).decode()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Load a langgraph.json that names these handlers."""

    def load(variable: str = "encryption", **sections: Any) -> Configuration:
        (tmp_path / "who.py").write_text(AUTH)
        graphs = {name: f"{GRAPHS}:{name}" for name in NAMES}
        named = {"path": f"{project_encryption.__name__}:{variable}"}
        content = {"graphs": graphs, "auth": {"path": "./who.py:auth"}, "encryption": named, **sections}
        (tmp_path / "langgraph.json").write_text(json.dumps(content))
        return load_configuration(tmp_path / "langgraph.json")

    return load


@pytest.fixture
def start(dsn: str, serve: Serve) -> Start:
    """Serve the project for the length of a block: as a process of its own would, but for its graphs' imports."""

    @contextmanager
    def serving(configuration: Configuration, *, executes: bool = True) -> Iterator[str]:
        database = replace(reach(dsn, pooled=False), vault=project_vault(configuration))
        registry, settings = Registry(configuration), engine_settings(executes=executes)
        app = create_app(lambda: open_engine(database, registry, settings), ApiSettings(), open_door(configuration))
        with serve(app) as served:
            yield served.url

    return serving


def client_of(url: str, user: str, **context: Any) -> LangGraphClient:
    return get_client(url=url, api_key=None, headers={"x-user": user, **(header(**context) if context else {})})


async def test_nothing_that_two_tenants_said_lies_in_the_database(project: Project, start: Start, dsn: str) -> None:
    with start(project()) as url:
        for tenant in project_encryption.TENANTS:
            async with client_of(url, tenant) as sdk:
                await live(sdk)
    for text in (CANARY, "kaboom", "ok?"):
        assert find_in_database(dsn, text) == []


async def live(sdk: LangGraphClient) -> None:
    """Leave something everywhere, and read it again."""
    thread = (await sdk.threads.create())["thread_id"]
    parts = [part async for part in sdk.runs.stream(thread, "steps", input=GIVEN, stream_mode=["values", "updates"])]
    assert parts[-1].data == {"n": 4, "text": CANARY, "log": ["plan", "act", "tell"]}
    await sdk.threads.update_state(thread, {"log": [CANARY]})
    runs: Any = await sdk.runs.list(thread)
    assert {run["kwargs"]["input"]["text"] for run in runs} == {CANARY}
    asked: Any = await sdk.runs.wait(None, "asking", input=GIVEN)
    assert asked["text"] == CANARY
    failed: Any = await sdk.runs.wait(None, "failing", input=GIVEN, raise_error=False)
    assert failed["__error__"]["message"] == "kaboom"
    copied: Any = await sdk.http.post(f"/threads/{thread}/copy", json=None)
    state: Any = await sdk.threads.get_state(copied["thread_id"])
    assert state["values"]["log"][-1] == CANARY
    cron: Any = await sdk.crons.create("steps", schedule="0 0 1 1 *", input=GIVEN)
    found: Any = await sdk.crons.search()
    assert [each["payload"]["input"] for each in found if each["cron_id"] == cron["cron_id"]] == [GIVEN]
    await sdk.store.put_item(["notes", "a"], "k", {"text": CANARY})
    assert (await sdk.store.get_item(["notes", "a"], "k"))["value"] == {"text": CANARY}


async def test_each_tenants_values_need_its_own_key(
    project: Project, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(project()) as url:
        threads = {}
        for tenant in project_encryption.TENANTS:
            async with client_of(url, tenant) as sdk:
                threads[tenant] = (await sdk.threads.create())["thread_id"]
                await sdk.runs.wait(threads[tenant], "steps", input=GIVEN)
        monkeypatch.setattr(project_encryption, "TENANTS", ("ann",))
        async with client_of(url, "ann") as sdk:
            state: Any = await sdk.threads.get_state(threads["ann"])
            assert state["values"]["text"] == CANARY
            with pytest.raises(InternalServerError, match=r"`decrypt.json` of .* raised PermissionError"):
                await sdk.threads.get(threads["bob"])
            with pytest.raises(
                InternalServerError, match=r"cannot be decrypted: the handler `decrypt.blob`"
            ) as refusal:
                await sdk.threads.get_state(threads["bob"])
        assert "nobody's business" not in str(refusal.value)


async def test_the_context_of_the_header_reaches_workers_crons_and_who_reads_on(
    project: Project, start: Start, dsn: str
) -> None:
    given = project("only_blobs")
    with start(given, executes=False) as url:
        async with client_of(url, "eve", tenant="bob") as sdk:
            thread = (await sdk.threads.create())["thread_id"]
            run = await sdk.runs.create(thread, "asking", input=GIVEN)
            cron: Any = await sdk.crons.create("steps", schedule="0 0 1 1 *", input=GIVEN)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update crons set next_run_date = now() where cron_id = %s", [cron["cron_id"]])
    with start(given) as url:
        async with client_of(url, "eve") as sdk:  # who reads needs to know nothing
            asked: Any = await sdk.runs.join(thread, run["run_id"])
            assert asked["text"] == CANARY
            async with client_of(url, "eve", tenant="bob") as answering:
                answered: Any = await answering.runs.wait(thread, "asking", command={"resume": CANARY})
            assert f"answer {CANARY}" in answered["log"]

            async def has_fired() -> bool:
                with psycopg.connect(dsn) as connection:
                    query = "select count(*) from runs where status = 'success' and metadata ->> 'cron_id' = %s"
                    row = connection.execute(query, [cron["cron_id"]]).fetchone()
                return bool(row and row[0])

            await eventually(has_fired)
            async with httpx.AsyncClient(base_url=url, headers={"x-user": "eve", "Last-Event-ID": "-"}) as http:
                told = (await http.get(f"/threads/{thread}/runs/{run['run_id']}/stream")).text
    assert CANARY in told
    assert find_in_database(dsn, CANARY) == []


async def test_what_no_handler_encrypts_fails_its_request_and_leaves_nothing(
    project: Project, start: Start, dsn: str
) -> None:
    with start(project()) as url:
        async with client_of(url, "ann") as sdk:
            thread = (await sdk.threads.create(graph_id="steps"))["thread_id"]
            refused: Any = {"text": project_encryption.REFUSED}
            with pytest.raises(InternalServerError, match=r"runs.kwargs of .* `encrypt.json` of .* raised ValueError"):
                await sdk.runs.create(thread, "steps", input=refused)
            assert await sdk.runs.list(thread) == []
            with pytest.raises(InternalServerError, match=r"cannot be encrypted: the handler `encrypt.blob`"):
                await sdk.threads.update_state(thread, refused, as_node="plan")
            assert await sdk.threads.get_history(thread) == []
            with pytest.raises(InternalServerError, match=r"store.value of notes / k cannot be encrypted"):
                await sdk.store.put_item(["notes"], "k", refused)
            await sdk.runs.wait(thread, "steps", input=GIVEN)
        async with client_of(url, "nobody") as sdk:
            with pytest.raises(InternalServerError, match=r"raised PermissionError"):
                await sdk.runs.create(None, "steps", input=GIVEN)
    assert find_in_database(dsn, project_encryption.REFUSED) == []


async def test_a_run_that_comes_to_what_no_handler_encrypts_ends_as_an_error_that_says_so(
    project: Project, start: Start, dsn: str
) -> None:
    with start(project()) as url:
        async with client_of(url, "ann") as sdk:
            thread = (await sdk.threads.create())["thread_id"]
            await sdk.runs.wait(thread, "asking", input=GIVEN)
            ended: Any = await sdk.runs.wait(thread, "asking", command={"resume": "no"}, raise_error=False)
            assert "cannot be encrypted: the handler `encrypt.blob`" in ended["__error__"]["message"]
            assert (await sdk.threads.get(thread))["status"] == "error"
    assert find_in_database(dsn, project_encryption.REFUSED) == []


async def test_a_run_whose_end_no_handler_encrypts_is_tried_again_until_one_does(
    project: Project, start: Start, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    async def fail(ctx: EncryptionContext, data: bytes) -> bytes:
        calls.append(ctx.model)
        raise ConnectionError("the KMS is away")

    async def is_handed_back() -> bool:
        with psycopg.connect(dsn) as connection:
            row = connection.execute("select status = 'pending' from runs").fetchone()
        return bool(calls and row and row[0])

    with start(project("only_blobs")) as url:
        async with client_of(url, "eve", tenant="bob") as sdk:
            thread = (await sdk.threads.create())["thread_id"]
            run = await sdk.runs.create(thread, "steps", input=GIVEN, after_seconds=1)
            with monkeypatch.context() as patch:
                patch.setattr(project_encryption.only_blobs, "_blob_encryptor", fail)
                patch.setattr(worker, "CRASH_DELAY", 3.0)
                await eventually(is_handed_back)
            ended: Any = await sdk.runs.join(thread, run["run_id"])
    assert ended["text"] == CANARY
    assert find_in_database(dsn, CANARY) == []


@pytest.mark.parametrize("value", ["e30", "[]", b64encode(b"[1]").decode(), b64encode(b"{").decode(), "\u00e9"])
async def test_a_header_that_is_no_object_is_refused(project: Project, start: Start, value: str) -> None:
    with start(project()) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            headers = {b"x-user": b"ann", b"x-encryption-context": value.encode("latin-1")}
            answer = await http.post("/threads", json={}, headers=headers)
    assert answer.status_code == 422
    assert "X-Encryption-Context: must be a JSON object in base64" in answer.json()["detail"]


async def test_a_row_of_another_thread_is_refused(project: Project, start: Start, dsn: str) -> None:
    with start(project("only_blobs")) as url:
        async with client_of(url, "eve", tenant="ann") as sdk:
            threads = [(await sdk.threads.create())["thread_id"] for _ in range(2)]
            for thread in threads:
                await sdk.runs.wait(thread, "steps", input=GIVEN)
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(
                    'update threads t set "values" = o."values" from threads o where o.thread_id <> t.thread_id'
                )
            with pytest.raises(InternalServerError, match=r"it was moved from another place"):
                await sdk.threads.get(threads[0])
            with pytest.raises(UnprocessableEntityError, match=r"values cannot be searched"):
                await sdk.threads.search(values={"text": CANARY})


async def test_a_fork_keeps_the_context_of_its_source(project: Project, start: Start, dsn: str) -> None:
    given = project()
    with start(given) as url:
        async with client_of(url, "bob") as sdk:
            thread = (await sdk.threads.create())["thread_id"]
            await sdk.runs.wait(thread, "steps", input=GIVEN)
            async with open_pool(replace(reach(dsn, pooled=False), vault=project_vault(given)), "test") as pool:
                made = await fork(pool, UUID(thread), None, [Edit.parse("text=other-canary")])
            state: Any = await sdk.threads.get_state(str(made.thread_id))
    assert state["values"]["text"] == "other-canary"
    assert find_in_database(dsn, "other-canary") == ["threads"]  # the label that says what was changed


async def test_everything_is_encrypted_anew_in_the_context_it_was_in(
    project: Project, start: Start, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = project()
    with start(given) as url:
        async with client_of(url, "bob") as sdk:
            thread = (await sdk.threads.create())["thread_id"]
            await sdk.runs.wait(thread, "asking", input=GIVEN)
            await sdk.store.put_item(["notes"], "k", GIVEN)
    async with open_pool(replace(reach(dsn, pooled=False), vault=project_vault(given)), "test") as pool:
        assert sum((await count_due(pool)).values()) == 0
        monkeypatch.setattr(HandlerVault, "writes", "@later")
        assert sum((await count_due(pool)).values()) > 5
        assert (await rewrite_all(pool)).failures == []
    monkeypatch.undo()
    with start(given) as url:
        async with client_of(url, "bob") as sdk:
            state: Any = await sdk.threads.get_state(thread)
            assert state["values"]["text"] == CANARY
            assert (await sdk.store.get_item(["notes"], "k"))["value"] == GIVEN
