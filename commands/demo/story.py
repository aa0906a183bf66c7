"""Owns the course of the demo: what is set up, in which order the acts are played, and that nothing is left behind."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from threadline.commands.demo.acts import approve, ask, fork, survive
from threadline.commands.demo.client import Client
from threadline.commands.demo.documents import Documents, choose_documents
from threadline.commands.demo.scratch import scratch_database
from threadline.commands.demo.screen import Screen
from threadline.commands.demo.server import DemoServer, run_server
from threadline.commands.exits import ExitCode
from threadline.settings import DatabaseSettings

# The model that needs no key and says the same each time, whatever is configured.
_OFFLINE = {"OPENAI_API_KEY": "", "LOG_LEVEL": "info", "LOG_JSON": "false"}


def play(settings: DatabaseSettings, docs: Path | None) -> None:
    """Play the demo on a server of its own. Raises DemoFailed when something is not as promised."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, _end)
    screen = Screen()
    documents = choose_documents(docs)
    screen.title("The life of a run, through HTTP")
    with (
        _temporary_folder() as folder,
        scratch_database(settings) as variables,
        run_server(folder, {**variables, **_OFFLINE}) as server,
    ):
        _play(server, documents, screen)
    screen.title(f"All as promised, in {time.monotonic() - started:.0f} s. Nothing is left running.")


def _play(server: DemoServer, documents: Documents, screen: Screen) -> None:
    screen.line("server", f"{server.url}, process {server.pid}, with the offline model")
    lines = server.ingest(documents.paths, documents.folder)
    screen.line("documents", f"{lines[-1]}: {', '.join(map(str, documents.paths))}")
    with Client(server.url) as client:
        thread_id = ask(client, screen, documents.question)
        approve(client, screen)
        survive(client, screen, server, documents.question)
        fork(client, screen, thread_id)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="threadline-demo-"))
    # Started by root, PostgreSQL runs as another user, who has to pass through.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _end(number: int, frame: FrameType | None) -> None:
    """End in order on SIGTERM, too: blocks are left as on Ctrl-C."""
    sys.exit(ExitCode.FAILED)
