"""Owns what `threadline rotate` and `threadline keygen` do: new keys, and everything encrypted with the first one."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from threadline.checkpoints.keyring import KEY_ID, make_key
from threadline.checkpoints.keys import check_database, forget_keys
from threadline.checkpoints.pool import Pool, open_pool
from threadline.checkpoints.rewriting import Rewritten, count_due, rewrite_all
from threadline.checkpoints.vault import vault_of
from threadline.commands.databases import any_database
from threadline.commands.exits import CommandFailed, ExitCode
from threadline.commands.stopping import run_until_stopped
from threadline.settings import Settings

_SHOWN = 20  # values that could not be opened


def print_key(key_id: str) -> None:
    """Print a new random key as THREADLINE_ENCRYPTION_KEYS takes it. Raises CommandFailed."""
    if not KEY_ID.fullmatch(key_id):
        raise CommandFailed(f"--id {key_id!r}: use up to 32 letters, digits, dots and dashes", ExitCode.MISUSED)
    print(make_key(key_id))


def rotate_keys(settings: Settings) -> None:
    """Encrypt everything with the first key, and print how much that was. Raises CommandFailed."""
    run_until_stopped(_rotate(settings))


async def _rotate(settings: Settings) -> None:
    async with any_database(settings.database) as found, open_pool(found.database, "rotate") as pool:
        vault = vault_of(pool)
        if not vault.seals:
            raise CommandFailed("there is no key to encrypt with: set THREADLINE_ENCRYPTION_KEYS", ExitCode.MISUSED)
        await check_database(pool)
        result = await _rewrite(pool)
        rows = sum(result.rows.values())
        if result.failures:
            told = "\n".join(f"  {failure}" for failure in result.failures[:_SHOWN])
            raise CommandFailed(
                f"{rows} rows are encrypted with {vault.writes!r} now; {len(result.failures)} could not be opened, and "
                f"stay as they are:\n{told}"
            )
        await forget_keys(pool)
    print(f"{found.description}: {rows} rows encrypted anew; everything is encrypted with {vault.writes!r}")


async def _rewrite(pool: Pool) -> Rewritten:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars: dict[str, TaskID] = {
            table: progress.add_task(table, total=rows) for table, rows in (await count_due(pool)).items() if rows
        }

        def tell(table: str, rows: int) -> None:
            if table in bars:
                progress.advance(bars[table], rows)

        return await rewrite_all(pool, tell)
