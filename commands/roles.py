"""Owns `threadline api` and `threadline worker`: halves of a process, for deployments that keep them apart."""

import logging

from threadline.commands.databases import describe, shared_database
from threadline.commands.listener import listen, url_of
from threadline.commands.process import Duties, OnReady, run_process
from threadline.graphs.configuration import Configuration
from threadline.graphs.registry import Registry
from threadline.settings import Settings

logger = logging.getLogger("threadline.process")


def serve_api(settings: Settings, configuration: Configuration) -> None:
    """Accept runs and serve streams, but execute nothing, until a signal. Raises CommandFailed or MigrationError."""
    database = shared_database(settings.database)
    with listen(settings.server.host, settings.server.port) as listener:
        duties = Duties(executes=False, listener=listener)
        on_ready = _tell("api.ready", url=url_of(listener), database=describe(database))
        run_process(settings, configuration, database, duties, on_ready)


def work(settings: Settings, configuration: Configuration) -> None:
    """Execute runs until a signal, without a port. Raises CommandFailed or MigrationError."""
    database = shared_database(settings.database)
    duties = Duties(executes=True, listener=None)
    run_process(settings, configuration, database, duties, _tell("worker.ready", database=describe(database)))


def _tell(event: str, **facts: str) -> OnReady:
    def on_ready(registry: Registry) -> None:
        working = [graph_id for graph_id in registry.graph_ids if graph_id not in registry.errors]
        logger.info(event, extra={**facts, "graphs": ",".join(working)})

    return on_ready
