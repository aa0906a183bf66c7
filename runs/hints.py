"""Owns hints between processes: what changed, said after the commit, and only to spare the others a poll.

A hint can get lost; polling is the guarantee. It is never sent inside a flush, where it would serialise all
committers.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection, Error, sql

from threadline.checkpoints.pool import Database
from threadline.checkpoints.statements import load_statements

logger = logging.getLogger("threadline.hints")

# Of threads or runs that wait to be named. Beyond it the others find them at their next poll.
MOST_WAITING = 10_000
THREADS_PER_HINT = 150  # a payload has at most 8,000 bytes
_SQL = load_statements("threadline.runs", "hints.sql")
_LEASE = load_statements("threadline.runs", "lease.sql")


@dataclass(slots=True)
class Hint:
    """What happened: news on threads and in the queue, runs asked to stop, changed crons, a process's death."""

    threads: set[UUID] = field(default_factory=set)
    cancels: set[UUID] = field(default_factory=set)
    queue: bool = False
    crons: bool = False
    death: bool = False  # only its keeper tells

    def __bool__(self) -> bool:
        return bool(self.threads or self.cancels or self.queue or self.crons)


OnHint = Callable[[Hint], None]


class Hints:
    """One connection that tells and one that listens."""

    def __init__(self, database: Database, process_id: UUID, on_hint: OnHint, on_reconnect: Callable[[], None]) -> None:
        self._database = database
        self._process_id = process_id
        self._on_hint = on_hint
        self._on_reconnect = on_reconnect
        self._pending = Hint()
        self._wake = asyncio.Event()
        self.listeners = True  # whether other processes exist to be told; the lease keeper's poll knows

    def announce(
        self, *, threads: Iterable[UUID] = (), cancels: Iterable[UUID] = (), queue: bool = False, crons: bool = False
    ) -> None:
        """Tell the other processes soon; several announcements become one."""
        if not self.listeners:
            return
        if len(self._pending.threads) < MOST_WAITING:
            self._pending.threads.update(threads)
        if len(self._pending.cancels) < MOST_WAITING:
            self._pending.cancels.update(cancels)
        self._pending.queue = self._pending.queue or queue
        self._pending.crons = self._pending.crons or crons
        self._wake.set()

    async def tell(self) -> None:
        """Send what was announced, for ever, on a connection whose commits wait for no disk."""
        connection: AsyncConnection[Any] | None = None
        channel = self._database.schema.channel
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                pending, self._pending = self._pending, Hint()
                try:
                    if connection is None or connection.broken:
                        connection = await self._database.connect("hints")
                    for payload in _payloads(self._process_id, pending):
                        await connection.execute(_SQL["tell"], {"channel": channel, "payload": payload})
                except (Error, OSError) as error:
                    # Lost hints cost a poll; there is nothing to repeat.
                    logger.debug("hints.lost", extra={"error": repr(error)})
                    await asyncio.sleep(0.05)
        finally:
            if connection is not None:
                await connection.close()

    async def listen(self) -> None:
        """Pass on what others tell, for ever; after every (re)connect everything is looked at once.

        The connection holds this process's lock: to others its loss is a sign of our death.
        """
        if not self._database.has_sessions:
            return  # a transaction pooler cannot LISTEN: polling does it all
        listen = sql.SQL(_SQL["listen"]).format(channel=sql.Identifier(self._database.schema.channel))
        while True:
            try:
                async with await self._database.connect("listen", direct=True) as connection:
                    await connection.execute(listen)
                    for statement in ("watch", "note_watched"):
                        await connection.execute(_LEASE[statement], {"process_id": self._process_id})
                    self._on_reconnect()
                    async for notice in connection.notifies():
                        self._take(notice.payload)
            except (Error, OSError) as error:
                logger.warning("hints.reconnect", extra={"error": repr(error)})
            await asyncio.sleep(0.1)

    def _take(self, payload: str) -> None:
        said = orjson.loads(payload)
        if said["p"] == str(self._process_id):
            return
        self._on_hint(
            Hint(
                {UUID(thread_id) for thread_id in said.get("t", ())},
                {UUID(run_id) for run_id in said.get("c", ())},
                said.get("q", False),
                said.get("s", False),
                said.get("d", False),
            )
        )


def _payloads(process_id: UUID, hint: Hint) -> Iterable[str]:
    threads = [str(thread_id) for thread_id in hint.threads]
    cancels = [str(run_id) for run_id in hint.cancels]
    while threads or cancels or hint.queue or hint.crons:
        said: dict[str, Any] = {"p": str(process_id)}
        said["t"], threads = threads[:THREADS_PER_HINT], threads[THREADS_PER_HINT:]
        room = THREADS_PER_HINT - len(said["t"])
        said["c"], cancels = cancels[:room], cancels[room:]
        said["q"], hint.queue = hint.queue, False
        said["s"], hint.crons = hint.crons, False
        yield orjson.dumps(said).decode()
