"""A program: serves the graphs of the working directory's langgraph.json, set by the environment alone.

It prints its address when it listens, and logs to standard error.
"""

import logging
import sys
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from socket import socket

from threadline.api.app import create_app
from threadline.api.server import Server
from threadline.commands.databases import configured_database
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.engine import Engine, EngineSettings, open_engine
from threadline.settings import load_settings


def main() -> None:
    """Serve until a signal comes."""
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    settings = load_settings()
    registry = Registry(load_configuration(Path("langgraph.json")))
    database = configured_database(settings.database)
    assert database is not None
    engine_settings = EngineSettings(
        executes=True,
        concurrency=settings.worker.run_concurrency,
        lease=settings.worker.lease,
        lease_renew=settings.worker.lease_renew,
        poll=timedelta(seconds=0.2),
        run_timeout=timedelta(seconds=60),
        drain=timedelta(seconds=3),
        max_attempts=3,
        max_pending_runs=10_000,
        tracing=settings.tracing,
        trace_spool=settings.database.data_dir / "traces",
    )
    listener = socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def open_it() -> AbstractAsyncContextManager[Engine]:
        return open_engine(database, registry, engine_settings)

    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    Server(create_app(open_it, settings.api), listener, timedelta(seconds=3)).run()


if __name__ == "__main__":
    main()
