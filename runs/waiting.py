"""Owns reading the threads that something is still to happen on, a page at a time, without their graphs.

Whether the code that is here can go on with them is judged by the doctor.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import class_row

from threadline.checkpoints.pending import SENDS, pending_nodes
from threadline.checkpoints.sealing import blob_place, open_inline, write_place
from threadline.checkpoints.serde import make_serializer
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.stored_classes import stored_classes
from threadline.checkpoints.vault import VaultError, vault_of
from threadline.graphs.versions import Topology
from threadline.runs.model import JsonObject

_SQL = load_statements("threadline.runs", "waiting.sql")
_PAGE = 100
LARGEST = 8 * 1024 * 1024  # bytes of a value that is looked into


class Waiting(NamedTuple):
    """A thread. `checkpoint` is that which it would go on from, as JSON without larger values; None without one."""

    thread_id: UUID
    status: str
    inflight: int
    graph_id: str
    checkpoint_id: str | None
    metadata: JsonObject | None
    checkpoint: JsonObject | None

    @property
    def topology_hash(self) -> str | None:
        """The version that made the checkpoint, if it is of the graph that would go on."""
        metadata = self.metadata or {}
        return metadata.get("topology_hash") if metadata.get("graph_id") == self.graph_id else None


class Values(NamedTuple):
    """What a thread's checkpoint holds: the classes of its values, and how many values were too large or unreadable."""

    classes: frozenset[tuple[str, str]]
    sends: tuple[Any, ...]
    unseen: int


async def read_waiting(connection: AsyncConnection[Any]) -> AsyncIterator[Waiting]:
    """Yield the threads that wait, work or have failed, by id; memory does not grow with their number."""
    after: UUID | None = None
    while True:
        async with connection.cursor(row_factory=class_row(Waiting)) as cursor:
            await cursor.execute(_SQL["page"], {"after": after, "limit": _PAGE})
            page = await cursor.fetchall()
        for thread in page:
            if thread.checkpoint is not None:
                await _open(connection, thread.thread_id, "", thread.checkpoint_id or "", thread.checkpoint)
            yield thread
        if len(page) < _PAGE:
            return
        after = page[-1].thread_id


async def read_values(connection: AsyncConnection[Any], thread: Waiting) -> Values:
    """Return what the thread's checkpoint holds, read value by value."""
    assert thread.checkpoint is not None
    classes: set[tuple[str, str]] = set()
    sends: tuple[Any, ...] = ()
    unseen = 0
    parameters = {
        "thread_id": str(thread.thread_id),
        "checkpoint_id": thread.checkpoint_id,
        "versions": orjson.dumps(thread.checkpoint["channel_versions"]).decode(),
        "largest": LARGEST,
    }
    vault, name = vault_of(connection), str(thread.thread_id)
    async for channel, kind, blob, version, task_id, idx in connection.cursor().stream(_SQL["values"], parameters):
        place = blob_place(name, "", channel, version)
        if task_id is not None:
            place = write_place(name, "", thread.checkpoint_id or "", task_id, idx, channel)
        try:
            if blob is not None:
                ((kind, blob),) = await vault.open_typed([(place, kind, blob)])
            if kind == "msgpack" and blob is not None:
                classes |= stored_classes(blob)
                if channel == SENDS:
                    sends = tuple(make_serializer().loads_typed((kind, blob)))
            unseen += blob is None
        except (ValueError, VaultError):
            unseen += 1
    return Values(frozenset(classes), sends, unseen)


async def read_pending(connection: AsyncConnection[Any], thread: Waiting, sends: tuple[Any, ...]) -> Mapping[str, Any]:
    """Return the nodes whose turn it is, by the namespace of their graph; "" is the thread's own."""
    assert thread.checkpoint is not None
    pending = {"": pending_nodes(thread.checkpoint, sends)}
    parameters = {"thread_id": str(thread.thread_id), "checkpoint_id": thread.checkpoint_id}
    cursor = await connection.execute(_SQL["subgraphs"], parameters)
    for ns, checkpoint in await cursor.fetchall():
        await _open(connection, thread.thread_id, ns, checkpoint["id"], checkpoint)
        pending[ns] = pending_nodes(checkpoint, ())
    return pending


async def _open(
    connection: AsyncConnection[Any], thread_id: UUID, ns: str, checkpoint_id: str, checkpoint: JsonObject
) -> None:
    """Open, in place, the values that a checkpoint holds itself; those that cannot be opened are not there."""
    marks = {channel for channel, value in (checkpoint.get("channel_values") or {}).items() if value is True}
    with suppress(VaultError):
        key = str(thread_id), ns, checkpoint_id
        checkpoint["channel_values"] = await open_inline(vault_of(connection), key, checkpoint, marks)


async def read_topology(connection: AsyncConnection[Any], graph_id: str, topology_hash: str) -> Topology | None:
    """Return how a version was shaped, None if nobody told."""
    cursor = await connection.execute(_SQL["topologies_exist"])
    if await cursor.fetchone() != (True,):
        return None
    cursor = await connection.execute(_SQL["topology"], {"graph_id": graph_id, "topology_hash": topology_hash})
    row = await cursor.fetchone()
    return row[0] if row else None
