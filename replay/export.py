"""Owns an export: threads, runs, events and steps as of one moment, in files that other tools read.

Whatever the size of the database, rows pass through one at a time; what a row may hold, one run has bounded.
"""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from threadline.checkpoints.pool import Pool
from threadline.replay.files import Format, TableFile
from threadline.replay.snapshots import snapshot
from threadline.replay.tables import EVENTS, RUNS, STEPS, THREADS, count_rows, read_threads

# Called with the rows that are to come and those that are written, by table.
OnProgress = Callable[[dict[str, int], dict[str, int]], None]

_REPORT_EVERY = 500


async def export(
    pool: Pool,
    folder: Path,
    form: Format = Format.JSONL,
    *,
    thread_id: UUID | None = None,
    since: datetime | None = None,
    on_progress: OnProgress = lambda _expected, _written: None,
) -> dict[Path, int]:
    """Write the threads that changed since `since`, or one thread, with all that belongs to them.

    Returns the files and the number of rows in each. Files of an earlier export are replaced, all at the end.
    Raises ThreadNotFound, OSError, and Invalid without the package that the format needs.
    """
    asked = () if thread_id is None else (thread_id,)
    async with snapshot(pool, *asked) as connection:
        expected = await count_rows(connection, thread_id, since)
        with ExitStack() as stack:
            _make_folder(folder)
            tables = {table.name: table.columns for table in (RUNS, EVENTS, STEPS)} | {"threads": THREADS}
            files = {
                name: stack.enter_context(TableFile(folder, name, tables[name], form))
                for name in ("threads", "runs", "events", "steps")
            }
            report = _Report(expected, files, on_progress)
            async for id_, row in read_threads(connection, thread_id, since):
                files["threads"].write(row)
                await _write_thread(connection, id_, files, report)
            report.tell()
    return {file.path: file.rows for file in files.values()}


async def _write_thread(
    connection: AsyncConnection[Any], thread_id: UUID, files: dict[str, TableFile], report: "_Report"
) -> None:
    for table in (RUNS, EVENTS, STEPS):
        async for row in table.rows(connection, thread_id):
            files[table.name].write(row)
            report.count()


class _Report:
    def __init__(self, expected: dict[str, int], files: dict[str, TableFile], on_progress: OnProgress) -> None:
        self._expected = expected
        self._files = files
        self._on_progress = on_progress
        self._since = 0

    def count(self) -> None:
        self._since += 1
        if self._since >= _REPORT_EVERY:
            self.tell()

    def tell(self) -> None:
        self._since = 0
        self._on_progress(self._expected, {name: file.rows for name, file in self._files.items()})


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
