"""Owns `threadline migrate`: bringing a database's schema up to date before the processes that need it start."""

from threadline.checkpoints.migrate import migrate
from threadline.commands.databases import any_database
from threadline.commands.stopping import run_until_stopped
from threadline.settings import Settings


def migrate_database(settings: Settings) -> None:
    """Apply what is missing, and print it. Raises CommandFailed or MigrationError."""
    run_until_stopped(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    async with any_database(settings.database) as found:
        applied = await migrate(found.database)
    for step in applied:
        print(f"applied {step}")
    print(f"{found.description}: {len(applied)} steps applied" if applied else f"{found.description}: up to date")
