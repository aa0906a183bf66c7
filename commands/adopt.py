"""Owns `threadline adopt`: threads that a graph left in LangGraph's own tables become threads of this server."""

from collections.abc import Sequence

from threadline.checkpoints.migrate import migrate
from threadline.checkpoints.pool import open_pool
from threadline.commands.databases import any_database
from threadline.commands.exits import CommandFailed, ExitCode
from threadline.commands.stopping import run_until_stopped
from threadline.graphs.configuration import Configuration
from threadline.graphs.registry import system_assistant_id
from threadline.runs.adoption import adopt_threads
from threadline.runs.model import JsonObject
from threadline.settings import Settings


def adopt(settings: Settings, configuration: Configuration, graph_id: str, labels: Sequence[str]) -> None:
    """Adopt what nobody has adopted yet, and print how many. Raises CommandFailed or MigrationError."""
    if graph_id not in configuration.graphs:
        known = ", ".join(configuration.graphs)
        raise CommandFailed(
            f"there is no graph {graph_id!r} in {configuration.path}; it has: {known}", ExitCode.MISUSED
        )
    metadata: JsonObject = dict(_read_label(label) for label in labels)
    metadata |= {"graph_id": graph_id, "assistant_id": str(system_assistant_id(graph_id))}
    run_until_stopped(_adopt(settings, metadata))


async def _adopt(settings: Settings, metadata: JsonObject) -> None:
    async with any_database(settings.database) as found:
        await migrate(found.database)
        async with open_pool(found.database, "adopt") as pool:
            adopted = await adopt_threads(pool, metadata)
    print(f"{found.description}: {adopted} threads adopted")


def _read_label(label: str) -> tuple[str, str]:
    key, equals, value = label.partition("=")
    if not key or not equals:
        raise CommandFailed(f"--metadata {label!r}: write KEY=VALUE", ExitCode.MISUSED)
    return key, value
