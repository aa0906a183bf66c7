"""The tables live in any schema, and no statement finds them, or anything of theirs, by a `search_path`."""

import re
from collections.abc import Iterator
from itertools import count
from uuid import uuid4

import psycopg
import pytest
from langgraph.checkpoint.postgres.base import BasePostgresSaver
from psycopg import AsyncConnection, Error, errors
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from threadline.checkpoints.item_vectors import index_config, prepare_vectors
from threadline.checkpoints.migrate import migrate, schema_lock
from threadline.checkpoints.pool import Database
from threadline.checkpoints.schema import known_names
from threadline.checkpoints.statements import load_statements, make_positional
from threadline.graphs.assistant.embedding import STATEMENTS as EMBEDDING
from threadline.tests.api.store_world import skip_without_pgvector
from threadline.tests.laboratory.places import reach
from threadline.tests.source import ROOT

SCHEMA = "elsewhere"
INDEX = index_config(3, ["$"], lambda texts: [[1.0, 0.0, 0.0] for _ in texts])
# Statements that PostgreSQL prepares not at all; the first run as they are in the tests of what they do.
UNPREPARABLE = ("create ", "listen ", "drop ")


def named_statements() -> Iterator[tuple[str, str, str]]:
    for file in sorted(ROOT.rglob("*.sql")):
        place = file.relative_to(ROOT)
        if place.parts[0] in (".venv", "bench", "tests") or "migrations" in place.parts:
            continue
        package = ".".join(("threadline", *place.parent.parts))
        for name, text in load_statements(package, place.name).items():
            yield str(place), name, text


@pytest.fixture
async def elsewhere(dsn: str) -> Database:
    """A database whose tables are in a schema of their own, on connections that look for names nowhere."""
    database = Database(make_conninfo(dsn, options="-c search_path="), schema_name=SCHEMA, pool_size=4)
    await migrate(database)
    return database


async def test_every_statement_is_prepared_where_names_are_looked_for_nowhere(elsewhere: Database) -> None:
    skip_without_pgvector(elsewhere.conninfo)
    await prepare_vectors(elsewhere, INDEX)
    async with await elsewhere.connect("test") as connection:
        await elsewhere.locate_extensions(connection)
        for name in ("create_extension", "create_embeddings"):
            await connection.execute(EMBEDDING[name])
        refused = {
            f"{place}: {name}": reason
            for place, name, text in named_statements()
            if (reason := await _reason_not_to_prepare(connection, text))
        }
    assert refused == {}


async def test_what_langgraph_asks_is_prepared_there_too(elsewhere: Database) -> None:
    asked = {name: text for name, text in vars(BasePostgresSaver).items() if name.endswith("_SQL")}
    assert len(asked) >= 4
    async with await elsewhere.connect("test") as connection:
        refused = {name: await _reason_not_to_prepare(connection, text) for name, text in asked.items()}
    assert set(refused.values()) == {None}


async def test_every_table_view_and_function_that_is_made_is_a_known_name(elsewhere: Database) -> None:
    skip_without_pgvector(elsewhere.conninfo)
    await prepare_vectors(elsewhere, INDEX)
    relations, functions = known_names()
    async with await elsewhere.connect("test") as connection:
        made = await connection.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = %s and c.relkind in ('r', 'v', 'm', 'p')",
            [SCHEMA],
        )
        assert {name for (name,) in await made.fetchall()} <= relations
        made = await connection.execute(
            "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = %s",
            [SCHEMA],
        )
        assert {name for (name,) in await made.fetchall()} == functions


async def test_a_schema_of_any_name_can_be_migrated_twice(dsn: str) -> None:
    database = Database(make_conninfo(dsn, options="-c search_path="), schema_name="user")
    assert await migrate(database)
    assert await migrate(database) == []


async def test_two_schemas_of_one_database_migrate_at_the_same_time(dsn: str) -> None:
    first, second = (Database(dsn, schema_name=name) for name in ("first", "second"))
    async with schema_lock(first):
        assert await migrate(second, wait=0.0)


async def test_an_account_that_may_make_no_schema_uses_the_one_it_was_given(dsn: str) -> None:
    role = f"guest_{uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as administrator:
        administrator.execute(f"create role {role} login".encode())
        administrator.execute(f"create schema given authorization {role}".encode())
    try:
        guest = Database(make_conninfo(dsn, options=f"-c search_path= -c role={role}"), schema_name="given")
        async with await guest.connect("test") as connection:
            with pytest.raises(errors.InsufficientPrivilege):
                await connection.execute("create schema another")
        assert await migrate(guest)
    finally:
        with psycopg.connect(dsn, autocommit=True) as administrator:
            administrator.execute(f"drop owned by {role} cascade; drop role {role}".encode())


async def test_triggers_that_an_earlier_release_made_find_the_tables_too(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        definition = connection.execute("select pg_get_functiondef('owe_webhook'::regproc)").fetchone()
        assert definition is not None
        connection.execute(re.sub(r'"(?:public|elsewhere)"\.', "", definition[0]).encode())
        connection.execute("delete from threadline_migrations where number = 23")
    database = reach(make_conninfo(dsn, options="-c search_path="))
    await migrate(database)
    async with await database.connect("test") as nowhere:
        run = {"run_id": uuid4(), "thread_id": uuid4()}
        await nowhere.execute(
            "insert into runs (run_id, thread_id, assistant_id, graph_id, status, webhook) "
            "values (%(run_id)s, %(thread_id)s, %(run_id)s, 'g', 'running', 'https://example.com')",
            run,
        )
        await nowhere.execute("update runs set status = 'success' where run_id = %(run_id)s", run)
        owed = await nowhere.execute("select run_id from webhook_deliveries")
        assert await owed.fetchall() == [(run["run_id"],)]


async def _reason_not_to_prepare(connection: AsyncConnection[TupleRow], text: str) -> str | None:
    body = "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
    if body.lower().startswith(UNPREPARABLE):
        return None
    numbers = count(1)
    positional = re.sub(r"%s", lambda _: f"${next(numbers)}", make_positional(body).text.decode())
    try:
        await connection.execute(f"prepare one as {positional}".encode(), prepare=False)
    except errors.IndeterminateDatatype:
        return None  # all names were found; only what kind of value comes is not known yet
    except Error as error:
        return f"{type(error).__name__}: {error}"
    await connection.execute("deallocate one")
    return None
