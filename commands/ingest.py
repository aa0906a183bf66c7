"""Owns `threadline ingest`: documents into the index that the shipped workflow searches, with its progress."""

import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID

from threadline.checkpoints.migrate import migrate, verify
from threadline.checkpoints.pool import Pool, open_pool
from threadline.commands.databases import any_database
from threadline.commands.exits import CommandFailed
from threadline.commands.semantics import chosen_embedder
from threadline.commands.stopping import run_until_stopped
from threadline.graphs.assistant.embedder import Embedder
from threadline.graphs.assistant.embedding import embed_passages
from threadline.graphs.assistant.files import READABLE
from threadline.graphs.assistant.ingestion import IngestedDocument, Outcome, ingest_path
from threadline.settings import Settings


def ingest(settings: Settings, paths: Sequence[Path]) -> None:
    """Bring the index in line with files and folders, and print what became of each document.

    Raises CommandFailed, before anything is changed if a path does not exist, or MigrationError.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise CommandFailed(f"There is no file or folder {', '.join(missing)}. Nothing was ingested.")
    run_until_stopped(_ingest(settings, paths))


async def _ingest(settings: Settings, paths: Sequence[Path]) -> None:
    async with any_database(settings.database) as found:
        if found.server:
            await migrate(found.database)
        async with open_pool(found.database, "ingest") as pool:
            await verify(pool)
            with _progress() as progress:
                outcomes = await _take(pool, paths, progress)
                if embedder := chosen_embedder(settings.model):
                    await _embed(pool, embedder, progress)
    if not set(outcomes) - {Outcome.PASSED_OVER}:
        kinds = ", ".join(sorted(READABLE))
        raise CommandFailed(f"There is no file that can be read ({kinds}) in {', '.join(map(str, paths))}.")
    print(", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()))


def _progress() -> Progress:
    # Lines that are printed go above the bar, unless they go to a file.
    return Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())


async def _take(pool: Pool, paths: Sequence[Path], progress: Progress) -> Counter[Outcome]:
    outcomes: Counter[Outcome] = Counter()

    for path in paths:
        bar = progress.add_task(str(path), total=None)

        def note(document: IngestedDocument, bar: TaskID = bar) -> None:
            outcomes[document.outcome] += 1
            print(_describe(document), flush=True)
            progress.advance(bar)

        try:
            await ingest_path(pool, path, on_files=partial(_expect, progress, bar), on_document=note)
        except BrokenPipeError:  # what is printed, not what is read
            raise
        except OSError as error:
            raise CommandFailed(f"{path} cannot be ingested: {error}") from error
    return outcomes


def _expect(progress: Progress, bar: TaskID, files: int) -> None:
    progress.update(bar, total=files)


async def _embed(pool: Pool, embedder: Embedder, progress: Progress) -> None:
    bar = progress.add_task(embedder.model, total=None)

    def tell(done: int, total: int) -> None:
        progress.update(bar, completed=done, total=total)

    report = await embed_passages(pool, embedder, on_passages=tell)
    if report.passages:
        print(f"{report.passages} passages embedded with {embedder.model}")
    if report.problem:
        print(f"Not all passages are embedded: {report.problem}", file=sys.stderr)


def _describe(document: IngestedDocument) -> str:
    match document.outcome:
        case Outcome.SKIPPED | Outcome.PASSED_OVER:
            detail = f": {document.reason}"
        case Outcome.ADDED | Outcome.UPDATED:
            detail = f" ({document.chunks} passages)"
        case _:
            detail = ""
    return f"{document.outcome:<11} {document.path}{detail}"
