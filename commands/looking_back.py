"""Owns what the commands that look back share: the database they read, and how what they print looks."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from rich.console import Console

from threadline.checkpoints.keys import check_database
from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import Pool, open_pool
from threadline.checkpoints.vault import VaultError
from threadline.commands.databases import any_database
from threadline.commands.exits import CommandFailed, ExitCode
from threadline.runs.encoding import encode
from threadline.runs.errors import Invalid, RunError
from threadline.runs.model import JsonObject
from threadline.settings import Settings

# Where the output is no terminal, wide enough that ids are whole.
_WIDTH = 200
_SHOWN_CHARACTERS = 100
_SIGNS = {"add": "+", "remove": "-", "replace": "~"}


@asynccontextmanager
async def open_past(settings: Settings) -> AsyncIterator[Pool]:
    """Yield a pool of the configured database, or of the one that `serve` keeps.

    What goes wrong with threads and runs in the block becomes CommandFailed.
    """
    async with any_database(settings.database) as found:
        if found.server:
            await migrate(found.database)
        async with open_pool(found.database, "replay") as pool:
            try:
                await check_database(pool)
                yield pool
            except Invalid as error:
                raise CommandFailed(str(error), ExitCode.MISUSED) from error
            except (RunError, VaultError) as error:
                raise CommandFailed(str(error)) from error


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `cli`, as what is printed otherwise."""
        raise BrokenPipeError


def make_console() -> Console:
    """Return a console on standard output."""
    console = _Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def print_json(value: Any) -> None:
    """Print one line of JSON."""
    print(encode(value).decode(), flush=True)


def describe_patch(patch: Iterable[JsonObject]) -> str:
    """Return a line for each operation of a JSON patch, long values cut."""
    lines = []
    for operation in patch:
        sign = _SIGNS.get(operation["op"], operation["op"])
        what = f" from {operation['from']}" if "from" in operation else ""
        value = f" {encode(operation['value']).decode()}" if "value" in operation else ""
        line = f"{sign} {operation['path'] or '/'}{what}{value}"
        lines.append(line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}...")
    return "\n".join(lines)


def describe_seconds(seconds: float | None) -> str:
    """Return a time for a column; nothing for one that is not known."""
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
