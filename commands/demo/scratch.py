"""Owns the database that the demo plays in, and removes it: what it writes must not end up among somebody's data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from threadline.checkpoints.statements import load_statements
from threadline.commands.exits import CommandFailed
from threadline.settings import DatabaseSettings

_SQL = load_statements("threadline.commands.demo", "scratch.sql")
_NO_POOLER = {"DATABASE_POOLER": "false", "DATABASE_DIRECT_URL": ""}


@contextmanager
def scratch_database(settings: DatabaseSettings) -> Iterator[Mapping[str, str]]:
    """Yield the variables that lead a server to a database of the demo's own: embedded where no URL is configured.

    On a configured server it is made for the block. Raises CommandFailed when the account may not do that.
    """
    secret = settings.direct_url or settings.url
    if secret is None:
        yield {"DATABASE_URL": ""}
        return
    conninfo = secret.get_secret_value()
    name = f"threadline_demo_{uuid4().hex[:12]}"
    try:
        _execute(conninfo, "create_database", name)
    except psycopg.Error as error:
        raise CommandFailed(
            f"The demo needs a database of its own on the server of DATABASE_URL, so that it leaves yours as it is: "
            f"{' '.join(str(error).split())}. Give it an account that may create databases, or unset DATABASE_URL."
        ) from error
    try:
        yield {**_NO_POOLER, "DATABASE_URL": make_conninfo(conninfo, dbname=name)}
    finally:
        _execute(conninfo, "drop_database", name)


def _execute(conninfo: str, statement: str, name: str) -> None:
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=10) as connection:
        connection.execute(sql.SQL(_SQL[statement]).format(name=sql.Identifier(name)))
