"""Owns `threadline serve`: PostgreSQL if it is to be ours, one socket, and the children that share it.

Started top-down as nested blocks, stopped bottom-up: children drain, then PostgreSQL ends.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from socket import socket
from typing import TYPE_CHECKING

from threadline.checkpoints.keys import check_keys
from threadline.checkpoints.migrate import migrate
from threadline.commands.banner import print_banner
from threadline.commands.children import Children
from threadline.commands.databases import OpenDatabase, own_database
from threadline.commands.exits import CommandFailed
from threadline.commands.link import Orders
from threadline.commands.listener import ALL_ADDRESSES, listen, url_of
from threadline.commands.stopping import run_together, run_until_stopped
from threadline.settings import Settings

if TYPE_CHECKING:
    from threadline.checkpoints.embedded import EmbeddedServer

logger = logging.getLogger("threadline.serve")

# What a child may take beyond its drain, and sending its last traces, before it is killed.
STOP_MARGIN = timedelta(seconds=10)
RESTART_PAUSE = timedelta(seconds=1)


def serve(settings: Settings, flags: Mapping[str, str], *, local_model: bool = False) -> None:
    """Serve until a signal; `flags` are what the children's settings are read with, too.

    With `local_model` a process of this machine writes the shipped workflow's answers.
    Raises CommandFailed or MigrationError.
    """
    with listen(settings.server.host, settings.server.port) as listener:
        run_until_stopped(_serve(settings, flags, listener, local_model=local_model))


async def _serve(settings: Settings, flags: Mapping[str, str], listener: socket, *, local_model: bool) -> None:
    async with (
        _local_model(wanted=local_model) as of_the_model,
        own_database(settings.database, settings.server.workers) as found,
    ):
        await migrate(found.database)
        async with await found.database.connect("keys") as connection:
            await check_keys(connection)
        conninfo = found.database.conninfo if found.server else None
        orders = Orders(listener.fileno(), {**flags, **of_the_model}, conninfo)
        patience = settings.worker.drain + settings.tracing.flush + STOP_MARGIN
        children = Children(orders, settings.server.workers, patience)
        works = {
            "children": children.run(),
            "listener": _hold(listener),
            "announce": _announce(children, settings, url_of(listener), found),
        }
        if found.server:
            works["embedded"] = _keep_server(found.server)
        await run_together(works)


async def _hold(listener: socket) -> None:
    """Keep the socket for children to come; when we stop, clients are refused at once instead of left waiting."""
    try:
        await asyncio.Event().wait()
    finally:
        listener.close()


@asynccontextmanager
async def _local_model(*, wanted: bool) -> AsyncIterator[Mapping[str, str]]:
    """Serve the local model if it is wanted; the settings that lead the children to it."""
    if not wanted:
        yield {}
        return
    from threadline.graphs.assistant.local_model import NoLocalModel, start_local_model

    try:
        async with start_local_model() as model:
            logger.info("local_model.started", extra={"pid": model.pid, "url": model.base_url})
            yield {
                "OPENAI_BASE_URL": model.base_url,
                "OPENAI_API_KEY": model.api_key,
                "MODEL": model.name,
                "MODEL_FALLBACK": "",
                "EMBEDDING_MODEL": "",
                "MODEL_CONTEXT_TOKENS": str(model.context_tokens // 2),
                "MODEL_ANSWERS_ONLY": "true",
            }
    except NoLocalModel as error:
        raise CommandFailed(str(error)) from None


async def _announce(children: Children, settings: Settings, url: str, found: OpenDatabase) -> None:
    report, *_ = await children.first_reports()
    logger.info("serve.ready", extra={"url": url, "children": settings.server.workers})
    if not settings.server.log_json:
        is_open = settings.server.host in ALL_ADDRESSES
        print_banner(url, found.description, report, children=settings.server.workers, is_open=is_open)


async def _keep_server(server: "EmbeddedServer") -> None:
    """Start the embedded server again whenever it died by itself; the children wait for it meanwhile."""
    from threadline.checkpoints.embedded import EmbeddedServerError

    while True:
        ended = await server.wait_exited()
        logger.error("embedded.died", extra={"code": ended.code, "log": str(server.log_path)})
        while True:
            try:
                await asyncio.to_thread(server.restart)
                break
            except EmbeddedServerError as error:
                logger.error("embedded.restart_failed", extra={"error": str(error)})
                await asyncio.sleep(RESTART_PAUSE.total_seconds())
