"""Owns which database a command uses: the configured one, that of a running `serve`, or a server of its own.

What is stored there is left to `checkpoints`. The embedded server is imported only where no URL is configured.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from threadline.checkpoints.migrate import MigrationError
from threadline.checkpoints.pool import Database
from threadline.checkpoints.vault import PLAIN, Vault, VaultError
from threadline.commands.exits import CommandFailed
from threadline.commands.project import current_project
from threadline.graphs.configuration import Configuration
from threadline.graphs.errors import ConfigurationError
from threadline.settings import DatabaseSettings

if TYPE_CHECKING:
    from threadline.checkpoints.embedded import EmbeddedServer

logger = logging.getLogger("threadline.database")

PATIENCE = timedelta(seconds=30)
_RETRY_SECONDS = 1.0
_QUIET_ATTEMPTS = 10  # whoever waits for ever says so each tenth time

_BOTH = (
    "handlers of the project and keys (THREADLINE_ENCRYPTION_KEYS, LANGGRAPH_AES_KEY) do not go together: remove "
    "either. What one of them encrypted, the other cannot read"
)
# Beside its pool a process keeps connections for the writer, admission, hints and its lease.
_BESIDE_POOL = 8
# For the other commands, and for whoever looks with psql.
_SPARE_CONNECTIONS = 40


@dataclass(frozen=True, slots=True)
class OpenDatabase:
    """A database that answers, what to call it, and its server if that is ours to keep."""

    database: Database
    description: str
    server: "EmbeddedServer | None" = None


def configured_database(settings: DatabaseSettings) -> Database | None:
    """Return the database that the settings name, if they do."""
    if settings.url is None:
        return None
    return Database(
        settings.url.get_secret_value(),
        pooler=settings.pooler,
        direct_conninfo=settings.direct_url.get_secret_value() if settings.direct_url else None,
        pool_size=settings.pool_size,
        schema_name=settings.schema_name,
        vault=configured_vault(settings),
    )


def configured_vault(settings: DatabaseSettings) -> Vault:
    """Return what stored data goes through: the project's handlers, the keys of the settings, or neither.

    Raises ConfigurationError for handlers that cannot be used, and for both at once.
    """
    keys, foreign = settings.encryption_keys, settings.langgraph_aes_key
    project = current_project()
    if project is not None and project.sections.get("encryption") is not None:
        if keys is not None or foreign is not None:
            raise ConfigurationError(project.path, "encryption", _BOTH)
        return project_vault(project, reads_plaintext=settings.reads_plaintext)
    if keys is None and foreign is None:
        return PLAIN
    from threadline.checkpoints.aes_vault import make_vault

    vault = make_vault(
        keys.get_secret_value() if keys else None,
        foreign.get_secret_value() if foreign else None,
        reads_plaintext=settings.reads_plaintext,
    )
    return vault or PLAIN


def project_vault(project: Configuration, *, reads_plaintext: bool = False) -> Vault:
    """Return the vault that calls the project's handlers, if it names some. Raises ConfigurationError."""
    from threadline.checkpoints.handler_vault import HandlerVault
    from threadline.graphs.encryption import load_encryption

    encryption = load_encryption(project)
    if encryption is None:
        return PLAIN
    return HandlerVault(encryption, project.sections["encryption"]["path"], reads_plaintext=reads_plaintext)


def embedded_database(dsn: str, settings: DatabaseSettings) -> Database:
    """Return the database of the embedded server at `dsn`."""
    vault = configured_vault(settings)
    return Database(dsn, pool_size=settings.pool_size, schema_name=settings.schema_name, vault=vault)


async def await_database(database: Database, patience: timedelta | None = PATIENCE) -> None:
    """Return once the database answers. Raises CommandFailed when it does not within `patience`; None: for ever."""
    deadline = monotonic() + patience.total_seconds() if patience is not None else math.inf
    for attempt in count():
        try:
            async with await database.connect("start"):
                return
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split())
            left = deadline - monotonic()
            if patience is not None and left <= 0:
                raise CommandFailed(
                    f"{describe(database)} did not answer for {patience.total_seconds():g} s: {reason}. "
                    "Start it, or correct DATABASE_URL."
                ) from error
            facts = {"database": describe(database), "error": reason}
            if patience is not None:
                facts["seconds_left"] = str(round(left))
            if patience is not None or attempt % _QUIET_ATTEMPTS == 0:
                logger.warning("database.unreachable", extra=facts)
            await asyncio.sleep(min(_RETRY_SECONDS, left))


def describe(database: Database) -> str:
    """Say where the database is, without its secrets."""
    parts = conninfo_to_dict(database.conninfo)
    where = f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}"
    return f"PostgreSQL at {where}, database {parts.get('dbname') or parts.get('user') or 'postgres'}"


@asynccontextmanager
async def own_database(settings: DatabaseSettings, processes: int = 1) -> AsyncIterator[OpenDatabase]:
    """Have the configured database, or else a server of our own, for the length of the block.

    `processes` is how many will share it. Raises CommandFailed.
    """
    if (database := configured_database(settings)) is not None:
        await await_database(database)
        yield OpenDatabase(database, describe(database))
        return
    from threadline.checkpoints.embedded import EmbeddedServerError, run_server

    connections = processes * (settings.pool_size + _BESIDE_POOL) + _SPARE_CONNECTIONS
    options = {"max_connections": str(connections)}
    try:
        async with run_server(settings.data_dir, bindir=settings.bindir, options=options) as server:
            yield OpenDatabase(embedded_database(server.dsn, settings), _describe_own(server), server)
    except EmbeddedServerError as error:
        raise CommandFailed(str(error)) from error


def shared_database(settings: DatabaseSettings) -> Database:
    """Return the configured database or that of a running `serve`. Raises CommandFailed where there is neither."""
    database = configured_database(settings) or _running_database(settings)
    if database is None:
        raise CommandFailed(
            "There is no database. Set DATABASE_URL, or start `threadline serve` with the data directory "
            f"{settings.data_dir.resolve()} first: this command uses its server then."
        )
    return database


@asynccontextmanager
async def any_database(settings: DatabaseSettings) -> AsyncIterator[OpenDatabase]:
    """Have the configured database, that of a running `serve`, or else a server of our own for this block."""
    if settings.url is None and (database := _running_database(settings)) is not None:
        yield OpenDatabase(database, describe(database))
        return
    async with own_database(settings) as found:
        yield found


def _running_database(settings: DatabaseSettings) -> Database | None:
    from threadline.checkpoints.embedded import EmbeddedServerError, attach

    try:
        dsn = attach(settings.data_dir)
    except EmbeddedServerError as error:
        raise CommandFailed(str(error)) from error
    return embedded_database(dsn, settings) if dsn else None


def _describe_own(server: "EmbeddedServer") -> str:
    binaries = server.binaries
    return f"PostgreSQL {binaries.version.full} of our own ({binaries.source}: {binaries.bindir}), in {server.data_dir}"


def is_of_the_database(error: Exception) -> bool:
    """Tell whether the database is at fault, and the error's own words are all that is to say."""
    return isinstance(error, psycopg.Error | PoolTimeout | MigrationError | VaultError)
