"""Owns the way to a test's database as it was asked for: in which schema its tables are, and whether past a pooler.

`make test-schema` and `make test-pgbouncer` run tests again on another way; without them it is the direct one, to the
default schema. What a test itself looks up goes the plain way, and finds the tables by their bare names.
"""

import os

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from threadline.checkpoints.pool import Database
from threadline.checkpoints.schema import DEFAULT_SCHEMA

SCHEMA = os.environ.get("TEST_DATABASE_SCHEMA", DEFAULT_SCHEMA)
# Whether to start a PgBouncer, and then the conninfo of its host and port: every database is behind it.
WANTS_POOLER, POOLER = "TEST_PGBOUNCER", "TEST_DATABASE_POOLER"


def is_pooled() -> bool:
    """Tell whether databases are reached through a pooler."""
    return POOLER in os.environ


def reach(dsn: str, *, pool_size: int = 8, pooled: bool = True) -> Database:
    """Return the database at `dsn` as the code under test is handed it; never through the pooler if not `pooled`."""
    if SCHEMA != DEFAULT_SCHEMA:
        dsn = make_conninfo(dsn, options="-c search_path=")
    if not (pooled and is_pooled()):
        return Database(dsn, pool_size=pool_size, schema_name=SCHEMA)
    pooler = _through_pooler(dsn, os.environ[POOLER])
    return Database(pooler, pooler=True, direct_conninfo=dsn, pool_size=pool_size, schema_name=SCHEMA)


def variables(dsn: str) -> dict[str, str]:
    """Return the same as settings of a program."""
    database = reach(dsn)
    chosen = {"DATABASE_URL": database.conninfo, "DATABASE_SCHEMA": database.schema_name}
    if database.direct_conninfo:
        chosen |= {"DATABASE_POOLER": "true", "DATABASE_DIRECT_URL": database.direct_conninfo}
    return chosen


def plain(dsn: str) -> str:
    """Return the way on which a test's own statements find the tables."""
    return dsn if SCHEMA == DEFAULT_SCHEMA else make_conninfo(dsn, options=f"-c search_path={SCHEMA}")


def plain_of(database: Database) -> str:
    """Return the plain way to a database that the code under test was handed."""
    return plain(database.direct_conninfo or database.conninfo)


def _through_pooler(dsn: str, pooler: str) -> str:
    kept = {key: value for key, value in conninfo_to_dict(dsn).items() if key in ("dbname", "user", "password")}
    return make_conninfo(pooler, **kept)
