"""Owns a child of `serve`, seen from inside: it does what its orders say, reports, and never outlives its parent."""

import logging
import os
from socket import socket
from typing import NoReturn

from psycopg import OperationalError

from threadline.checkpoints.migrate import MigrationError
from threadline.commands.databases import configured_database, embedded_database
from threadline.commands.example import example_input
from threadline.commands.exits import CommandFailed, ExitCode
from threadline.commands.link import Orders, ParentLink, Report
from threadline.commands.process import Duties, run_process
from threadline.graphs.configuration import Configuration
from threadline.graphs.errors import ConfigurationError
from threadline.graphs.registry import Registry
from threadline.settings import Settings

logger = logging.getLogger("threadline.process")


def run_child(settings: Settings, configuration: Configuration, orders: Orders, parent: ParentLink) -> None:
    """Serve and execute until told to stop. Raises what `run_process` does, after telling the parent why."""
    parent.watch(_leave)
    database = configured_database(settings.database)
    if database is None or orders.conninfo is not None:
        database = embedded_database(orders.conninfo or "", settings.database)
    # `serve` has seen the database; one that is away by now comes back, and giving up would only be another start.
    duties = Duties(executes=True, listener=socket(fileno=orders.listener), patience=None)

    def on_ready(registry: Registry) -> None:
        parent.report(_describe(registry))

    try:
        run_process(settings, configuration, database, duties, on_ready)
    except (CommandFailed, ConfigurationError, MigrationError) as error:
        parent.report(Report(failure=str(error)))
        raise
    except OperationalError as error:
        # It went away between two steps of the start.
        parent.report(Report(failure=str(error), is_lasting=False))
        raise


def _describe(registry: Registry) -> Report:
    errors = {graph_id: str(error) for graph_id, error in registry.errors.items()}
    works = next((graph_id for graph_id in registry.graph_ids if graph_id not in errors), None)
    return Report(
        graphs={graph_id: errors.get(graph_id) for graph_id in registry.graph_ids},
        example=example_input(registry, works) if works is not None else None,
    )


def _leave() -> NoReturn:
    # Nothing to undo: what was committed is kept, and the lease ends with this process.
    logger.critical("child.orphaned", extra={"pid": os.getpid()})
    os._exit(ExitCode.FAILED)
