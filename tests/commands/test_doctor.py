"""Owns the proof that the doctor tells what will work of a project and a database, and that adopted threads go on."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, StateGraph
from psycopg import sql
from psycopg.conninfo import make_conninfo
from typing_extensions import TypedDict

from threadline.tests.commands.programs import run
from threadline.tests.laboratory.places import variables as way_to

GRAPH = """
import operator
from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph


class State(TypedDict):
    log: Annotated[list[str], operator.add]


def count(state: State) -> State:
    return {"log": [f"run {len(state['log']) + 1}"]}


graph = StateGraph(State).add_node("count", count).add_edge(START, "count").compile()
"""


@dataclass
class Undeclared:
    """A class that is in no schema."""

    a: int = 1


class Odd(TypedDict):
    """What a graph stored without declaring its class."""

    it: Any


@pytest.fixture
def empty(server_dsn: str) -> Iterator[str]:
    """The conninfo of a database that nobody has set up."""
    name = f"threadline_doctor_{uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def project(folder: Path, **keys: Any) -> Path:
    (folder / "counting.py").write_text(GRAPH)
    path = folder / "langgraph.json"
    path.write_text(json.dumps({"dependencies": ["."], "graphs": {"counting": "./counting.py:graph"}, **keys}))
    return path


def doctor(config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run("doctor", "--config", str(config), *more)


def test_a_project_that_will_work_is_told_so(tmp_path: Path, dsn: str) -> None:
    done = doctor(project(tmp_path), "--database", dsn)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok      graphs.counting: imported" in done.stdout
    assert "answers, version" in done.stdout
    assert "error" not in done.stdout
    assert "warning" not in done.stdout


def test_what_of_a_project_will_not_work_is_named_key_by_key(tmp_path: Path) -> None:
    config = project(
        tmp_path,
        dependencies=[".", "a-package-that-nobody-has"],
        graphs={"counting": "./counting.py:graph", "gone": "./gone.py:graph"},
        auth={"path": "./absent.py:auth"},
        encryption={"path": "./absent.py:encryption"},
        webhooks={"headers": {"a": "${{ env.LG_WEBHOOK_ABSENT }}"}},
        http={"cors": {"allow_orgins": []}},
        ui={"counting": "./ui.tsx"},
    )
    done = doctor(config)
    assert done.returncode == 1
    verdicts = [tuple(line.split(":")[0].split()) for line in done.stdout.splitlines()]
    assert verdicts == [
        ("ok", "graphs.counting"),
        ("warning", "http.cors.allow_orgins"),
        ("warning", "ui"),
        ("error", "dependencies"),
        ("error", "graphs.gone"),
        ("error", "auth.path"),
        ("error", "encryption.path"),
        ("error", "webhooks.headers.a"),
    ]
    assert "5 of 8 findings must be dealt with first" in done.stderr


def test_a_file_that_cannot_be_read_is_misuse(tmp_path: Path) -> None:
    done = doctor(tmp_path / "langgraph.json")
    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_a_database_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    done = doctor(project(tmp_path), "--database", "postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1
    assert "error   PostgreSQL at 127.0.0.1:1" in done.stdout


def test_tables_of_other_servers_are_told_apart(tmp_path: Path, empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("create table checkpoints (thread_id uuid, checkpoint_id uuid)")
        for table in ("assistant", "thread", "run", "runs"):
            connection.execute(sql.SQL("create table {} (id uuid)").format(sql.Identifier(table)))
    done = doctor(project(tmp_path), "--database", empty)
    assert done.returncode == 1
    assert "error   runs: another program has tables of these names" in done.stdout
    assert "error   checkpoints: LangGraph Server keeps them in a form of its own" in done.stdout


def test_values_that_will_not_come_back_are_counted(tmp_path: Path, empty: str) -> None:
    with PostgresSaver.from_conn_string(empty) as saver:
        saver.setup()
        builder = StateGraph(Odd).add_node("one", lambda state: {"it": Undeclared()}).add_edge(START, "one")
        for thread in (str(uuid4()), "not-a-uuid"):
            builder.compile(checkpointer=saver).invoke({"it": 1}, {"configurable": {"thread_id": thread}})
    with psycopg.connect(empty, autocommit=True) as connection:
        insert = "insert into checkpoint_blobs values ('t', '', %s, '1', %s, %s)"
        connection.execute(insert, ("a", "pickle", b"x"))
        connection.execute(insert, ("b", "msgpack+aes", b"x"))
        connection.execute(insert, ("c", "msgpack", b"\xc1"))
    done = doctor(project(tmp_path), "--database", empty)
    assert done.returncode == 1
    for line in (
        "warning threads: 2 of 2 are known by their checkpoints only; see `threadline adopt`",
        "warning threads: 1 of 2 have an id that is no UUID",
        "error   checkpoints: 1 values are pickled",
        "error   checkpoints: 1 values are encrypted (msgpack+aes)",
        "values that were tried cannot be read",
    ):
        assert line in done.stdout
    assert "Undeclared, which no graph declares" in done.stdout


@pytest.mark.slow  # a server and three programs: eight seconds
def test_a_thread_of_the_official_saver_goes_on_once_it_is_adopted(tmp_path: Path, empty: str, start: Any) -> None:
    config = project(tmp_path)
    thread = str(uuid4())
    namespace: dict[str, Any] = {}
    exec(GRAPH, namespace)
    with PostgresSaver.from_conn_string(empty) as saver:
        saver.setup()
        graph = namespace["graph"].copy({"checkpointer": saver})
        graph.invoke({"log": ["begun"]}, {"configurable": {"thread_id": thread}})
    flags = ("--config", str(config), "--database", empty)
    adopted = run("adopt", *flags, "--graph", "counting", "--metadata", "owner=ann")
    assert "1 threads adopted" in adopted.stdout, adopted.stderr
    assert "0 threads adopted" in run("adopt", *flags, "--graph", "counting").stdout
    assert run("adopt", *flags, "--graph", "other").returncode == 2
    assert doctor(config, "--database", empty).returncode == 0
    url = start("serve", "--port", "0", "--config", str(config), **way_to(empty)).await_url()
    body = {"assistant_id": "counting", "input": {"log": []}}
    values = httpx.post(f"{url}/threads/{thread}/runs/wait", json=body, timeout=30).json()
    assert values["log"] == ["begun", "run 2", "run 3"]
    (found,) = httpx.post(f"{url}/threads/search", json={"metadata": {"owner": "ann"}}, timeout=30).json()
    assert found["thread_id"] == thread
