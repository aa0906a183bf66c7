"""Owns `threadline ingest`: documents into the index that the shipped workflow searches, with its progress."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from threadline.checkpoints.migrate import migrate, verify
from threadline.checkpoints.pool import Pool, open_pool
from threadline.commands.databases import any_database
from threadline.commands.exits import CommandFailed
from threadline.commands.progress import ProgressBar
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
    outcomes: Counter[Outcome] = Counter()
    progress = ProgressBar()

    def note(document: IngestedDocument) -> None:
        outcomes[document.outcome] += 1
        progress.advance(_describe(document))

    async with any_database(settings.database) as found:
        if found.server:
            await migrate(found.database)
        async with open_pool(found.database, "ingest") as pool:
            await verify(pool)
            for path in paths:
                try:
                    await ingest_path(pool, path, on_files=progress.expect, on_document=note)
                except OSError as error:
                    raise CommandFailed(f"{path} cannot be ingested: {error}") from error
            if embedder := chosen_embedder(settings.model):
                await _embed(pool, embedder, progress)
    progress.clear()
    if not set(outcomes) - {Outcome.PASSED_OVER}:
        kinds = ", ".join(sorted(READABLE))
        raise CommandFailed(f"There is no file that can be read ({kinds}) in {', '.join(map(str, paths))}.")
    print(", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()))


async def _embed(pool: Pool, embedder: Embedder, progress: ProgressBar) -> None:
    report = await embed_passages(pool, embedder, on_passages=progress.show)
    progress.clear()
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
