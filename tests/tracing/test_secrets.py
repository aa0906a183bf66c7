"""Canary secrets in headers, configuration and environment are in no span, no table, no log and no answer."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from threadline.checkpoints.secrets import hide, is_secret, secret_texts, without_secrets
from threadline.tests.tracing.ingest import serve_ingest
from threadline.tests.tracing.traced_process import start_traced
from threadline.tests.tracing.traced_world import QUESTION, settings

CANARY = re.compile(r"canary-[a-z]+-[0-9a-f]{32}|canary-[a-z]+-[0-9a-f]{4}")
MODES = ["values", "updates", "messages", "tasks", "checkpoints", "debug", "custom", "events"]


def canary(name: str) -> str:
    return f"canary-{name}-{'5eed' * 8}"


SECRET = (
    "user_token x-api-key api_key apiKey OPENAI_API_KEY password db_password client-secret Authorization credentials"
)
MORE_SECRET = "accessToken cookie key aws_secret_access_key dbpassword jwt"


@pytest.mark.parametrize("key", (f"{SECRET} {MORE_SECRET}").split())
def test_names_of_secrets_are_known_in_every_spelling(key: str) -> None:
    assert is_secret(key, "value")


@pytest.mark.parametrize(
    "entry",
    [
        *[("max_tokens", 5), ("monkey", "x"), ("author", "x"), ("thread_id", "x"), ("langgraph_auth_user_id", "x")],
        *[("input_token_details", {"cache_read": 3}), ("token", None), ("has_token", True), ("keyboard", "x")],
    ],
)
def test_what_only_sounds_like_a_secret_is_kept(entry: tuple[str, object]) -> None:
    assert not is_secret(*entry)


@pytest.mark.parametrize("value", ["Bearer abc", "basic YTpi", "postgresql://me:hunter2@db/app"])
def test_a_secret_is_known_by_its_form_too(value: str) -> None:
    assert is_secret("header", value)
    assert not is_secret("text", f"a text about {value}")


def test_secrets_are_left_out_at_any_depth() -> None:
    given = {"a": [{"token": "x", "b": 1}], "c": {"d": {"password": "y"}}, "usage": {"token": 3}}
    assert without_secrets(given) == {"a": [{"b": 1}], "c": {"d": {}}, "usage": {"token": 3}}
    assert secret_texts({"c": {"d": {"password": "hunter2", "credentials": {"user": "alice"}}}}) == {"hunter2", "alice"}


def test_an_abbreviated_secret_is_hidden_too() -> None:
    secret = "abcdefgh-the-middle-12345678"
    text = f"say {secret}, input_value={{'t': 'abcdefgh-th...dle-12345678'}}, and 'abcdefgh...'"
    assert hide(text, {secret}) == "say ***, input_value={'t': '***'}, and '***'"
    assert hide("a short one", {"short"}) == "a *** one"


ENVIRONMENT = {
    "LANGSMITH_PASSPHRASE": canary("langsmith"),
    "LANGSMITH_TEAM": canary("team"),
    "LANGCHAIN_NOTE": canary("langchain"),
    "MY_SECRET": canary("environment"),
    "THREADLINE_TRACE_PARENTS": "true",
}


def rows(dsn: str) -> Iterator[tuple[str, str]]:
    """Yield every row of every table as text, binary columns as text too."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables = connection.execute(
            "select tablename from pg_catalog.pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            cursor = connection.execute(sql.SQL("select * from {}").format(sql.Identifier(table)))
            for row in cursor.fetchall():
                for column, value in zip(cursor.description or (), row, strict=True):
                    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                    yield f"{table}.{column.name}", text


def test_no_canary_is_in_spans_tables_logs_or_answers(dsn: str, tmp_path: Path) -> None:
    configurable = {
        "user_token": canary("token"),
        "x-api-key": canary("header"),
        "headers": {"authorization": canary("nested")},
        "db": f"postgresql://me:{canary('url')}@db/app",
    }
    headers = {
        "authorization": f"Bearer {canary('bearer')}",
        "x-api-key": canary("apikey"),
        "cookie": f"a={canary('cookie')}",
        "langsmith-trace": canary("trace"),
        "baggage": f"langsmith-metadata=%7B%22token%22%3A%22{canary('baggage')}%22%7D",
    }
    answers: list[str] = []
    config = {"configurable": configurable, "metadata": {"their_token": canary("metadata")}}
    with serve_ingest() as ingest, start_traced(dsn, tmp_path, ingest.url, ENVIRONMENT) as server:
        with httpx.Client(base_url=server.url, timeout=20, headers=headers) as http:
            for graph in ("using", "telling", "strict"):
                thread = f"/threads/{http.post('/threads', json={}).json()['thread_id']}"
                body = {"assistant_id": graph, "input": QUESTION, "stream_mode": MODES, "config": config}
                answers.append(http.post(f"{thread}/runs/stream", json=body).text)
                answers += [http.get(f"{thread}{path}").text for path in ("", "/state", "/history", "/runs")]
            wrong = {"assistant_id": "using", "config": [{"token": canary("body")}]}
            answers.append(http.post("/runs/wait", json=wrong).text)
        server.stop()
        log = server.log
    assert "used 45 characters" in answers[0]
    assert "bad token ***" in answers[5]
    assert "validation error" in answers[10]
    assert len(ingest.spans) >= 4
    assert "run.failed" in log
    for answer in answers:
        assert not CANARY.findall(answer)
    assert not CANARY.findall(ingest.text())
    assert not CANARY.findall(log)
    found = {place for place, text in rows(dsn) if CANARY.search(text)}
    # The run itself must be able to read its configuration, on whichever machine and whenever it goes on.
    assert found <= {"runs.kwargs"}


def test_settings_do_not_show_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert "lsv2_test" not in repr(settings("http://127.0.0.1:9"))
