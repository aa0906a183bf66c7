"""Owns `threadline traces`: sending what LangSmith did not take when the runs were traced, with its progress."""

import sys
from pathlib import Path

from threadline.commands.exits import CommandFailed
from threadline.runs.trace_spool import resend
from threadline.runs.tracing import credentials, endpoint_of
from threadline.settings import Settings


def trace_folder(settings: Settings) -> Path:
    """Return the folder for traces that could not be sent, which the processes of a data directory share."""
    return settings.tracing.spool_dir or settings.database.data_dir / "traces"


def resend_traces(settings: Settings) -> None:
    """Send what waits in the folder, oldest first, and print what came of it. Raises CommandFailed if some is left."""
    folder = trace_folder(settings)
    if settings.tracing.api_key is None:
        raise CommandFailed(f"LANGSMITH_API_KEY is not set. The traces stay in {folder}.")
    resent = resend(folder, endpoint_of(settings.tracing), credentials(settings.tracing), _show)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"sent {resent.sent} files of traces from {folder}, {resent.left} left")
    if resent.left:
        reason = resent.reason or "they came while the others were sent"
        raise CommandFailed(f"{resent.left} files of traces stay in {folder}: {reason}")


def _show(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{total} files", end="", file=sys.stderr, flush=True)
