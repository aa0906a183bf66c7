"""Owns `threadline export`: threads, runs, events and steps as files, with a progress bar where somebody looks."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from threadline.commands.exits import CommandFailed, ExitCode
from threadline.commands.looking_back import open_past
from threadline.commands.stopping import run_until_stopped
from threadline.replay.export import export
from threadline.replay.files import Format
from threadline.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be exported, where to and how."""

    folder: Path
    form: Format
    thread_id: UUID | None
    since: datetime | None


def export_threads(settings: Settings, order: Order) -> None:
    """Write the files, and print what each holds. Raises CommandFailed."""
    run_until_stopped(_export(settings, order))


def make_order(folder: Path, form: str, thread_id: UUID | None, since: str | None) -> Order:
    """Read what was asked for: `since` is a date or time of ISO 8601, UTC without a zone. Raises CommandFailed."""
    return Order(folder, Format(form), thread_id, None if since is None else _read_time(since))


def _read_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise CommandFailed(
            f"--since must be a date or time such as 2026-01-31 or 2026-01-31T12:00:00+01:00, not {text!r}",
            ExitCode.MISUSED,
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


async def _export(settings: Settings, order: Order) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def tell(expected: dict[str, int], written: dict[str, int]) -> None:
            for name, total in expected.items():
                if name not in bars:
                    bars[name] = progress.add_task(name, total=total)
                progress.update(bars[name], completed=written[name])

        async with open_past(settings) as pool:
            try:
                files = await export(
                    pool, order.folder, order.form, thread_id=order.thread_id, since=order.since, on_progress=tell
                )
            except OSError as error:
                raise CommandFailed(f"{order.folder} cannot be written: {error}") from error
    for path, rows in files.items():
        print(f"{rows:>9}  {path}")
