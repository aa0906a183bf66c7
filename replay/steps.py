"""Owns the reading of a thread's checkpoints as steps: values, origin, and which tasks led there.

No graph is asked, so steps of a graph that is gone read like any others; the values of its DeltaChannels, which
only its own code can put together, are named in `partial` instead.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from threadline.checkpoints.sealing import SEALED_VALUES, open_blobs, open_inline, write_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import Vault, vault_of
from threadline.replay.values import read_blob, read_values, to_json
from threadline.runs.errors import CheckpointNotFound, Invalid, ThreadNotFound
from threadline.runs.model import JsonObject

_SQL = load_statements("threadline.replay", "steps.sql")

_PAGE = 16  # steps read at once: each carries its whole state
_REMEMBERED = 8  # states kept to compare their successors with
_NO_TASK = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Step:
    """One checkpoint. `values` is JSON; `tasks` are (id, path) of what wrote it; `questions` are asked from here."""

    thread_id: UUID
    checkpoint_ns: str
    checkpoint_id: str
    parent_checkpoint_id: str | None
    created_at: str
    metadata: JsonObject
    values: Any
    partial: list[str]
    tasks: list[tuple[str, str]]
    questions: list[Any]

    @property
    def run_id(self) -> str | None:
        return self.metadata.get("run_id")


async def read_steps(
    connection: AsyncConnection[Any],
    thread_id: UUID,
    *,
    limit: int | None = None,
    subgraphs: bool = False,
    checkpoint_ns: str = "",
    checkpoint_id: str | None = None,
) -> AsyncIterator[Step]:
    """Yield the newest `limit` steps, oldest first. Must run in a transaction; memory does not grow with the thread."""
    parameters = {
        "thread_id": thread_id,
        "checkpoint_ns": checkpoint_ns,
        "checkpoint_id": checkpoint_id,
        "subgraphs": subgraphs,
        "limit": limit,
    }
    async with connection.cursor("steps", row_factory=dict_row) as cursor:
        cursor.itersize = _PAGE
        await cursor.execute(_SQL["steps"], parameters)
        async for row in cursor:
            yield await _step(vault_of(connection), thread_id, row)


async def read_step(
    connection: AsyncConnection[Any], thread_id: UUID, checkpoint_id: str | None = None, checkpoint_ns: str = ""
) -> Step:
    """Return one step, the latest unless one is named. Raises ThreadNotFound, CheckpointNotFound and Invalid."""
    async with connection.cursor() as cursor:
        await cursor.execute(_SQL["thread_exists"], {"thread_id": thread_id})
        if await cursor.fetchone() is None:
            raise ThreadNotFound(thread_id)
        if checkpoint_id is None:
            await cursor.execute(_SQL["latest"], {"thread_id": thread_id, "checkpoint_ns": checkpoint_ns})
            row = await cursor.fetchone()
            checkpoint_id = row[0] if row else None
        if checkpoint_id is None:
            raise Invalid(f"Thread {thread_id} has no checkpoint yet. Let a run on it finish a step first.")
    found = read_steps(connection, thread_id, limit=1, checkpoint_ns=checkpoint_ns, checkpoint_id=checkpoint_id)
    async for step in found:
        return step
    raise CheckpointNotFound(thread_id, checkpoint_id)


async def find_namespace(connection: AsyncConnection[Any], thread_id: UUID, checkpoint_id: str) -> str | None:
    """Return the namespace a checkpoint lies in, the root's if it is in several; None when it is nowhere."""
    cursor = await connection.execute(_SQL["namespaces"], {"thread_id": thread_id, "checkpoint_id": checkpoint_id})
    row = await cursor.fetchone()
    return row[0] if row else None


class Predecessors:
    """The values of the steps seen last, for comparing a step with its parent; others are read again."""

    def __init__(self, connection: AsyncConnection[Any], thread_id: UUID) -> None:
        self._connection = connection
        self._thread_id = thread_id
        self._values: OrderedDict[tuple[str, str], Any] = OrderedDict()

    async def values_before(self, step: Step) -> Any:
        """Return the parent's values, `{}` where there is none; `step` is remembered for its own successors."""
        values: Any = {}
        if step.parent_checkpoint_id is not None:
            key = (step.checkpoint_ns, step.parent_checkpoint_id)
            if key in self._values:
                values = self._values[key]
            else:
                values = await self._read(*key)
        self._values[step.checkpoint_ns, step.checkpoint_id] = step.values
        if len(self._values) > _REMEMBERED:
            self._values.popitem(last=False)
        return values

    async def _read(self, checkpoint_ns: str, checkpoint_id: str) -> Any:
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                _SQL["steps"],
                {
                    "thread_id": self._thread_id,
                    "checkpoint_ns": checkpoint_ns,
                    "checkpoint_id": checkpoint_id,
                    "subgraphs": False,
                    "limit": 1,
                },
            )
            row = await cursor.fetchone()
        return (await _step(vault_of(self._connection), self._thread_id, row)).values if row else {}


async def _step(vault: Vault, thread_id: UUID, row: dict[str, Any]) -> Step:
    metadata = row["metadata"]
    channels: Sequence[str] = row["channels"] or ()
    inline: JsonObject = row["inline"] or {}
    blobs = list(zip(channels, row["types"] or (), row["blobs"] or (), strict=True))
    questions = row["questions"] or ()
    if vault.seals:
        key = str(thread_id), row["checkpoint_ns"]
        checkpoint = {"channel_values": inline, SEALED_VALUES: row["sealed_values"]}
        inline = await open_inline(vault, (*key, row["checkpoint_id"]), checkpoint, set(channels))
        blobs = await open_blobs(vault, key, blobs, dict(zip(channels, row["versions"] or (), strict=True)))
        items = [
            (write_place(*key, row["checkpoint_id"], task_id, idx, "__interrupt__"), kind, blob)
            for (task_id, idx, kind), blob in zip(row["asking"] or (), questions, strict=True)
        ]
        questions = [blob for _, blob in await vault.open_typed(items)]
    deltas = metadata.get("counters_since_delta_snapshot") or {}
    return Step(
        thread_id=thread_id,
        checkpoint_ns=row["checkpoint_ns"],
        checkpoint_id=row["checkpoint_id"],
        parent_checkpoint_id=row["parent_checkpoint_id"],
        created_at=row["created_at"],
        metadata=metadata,
        values=read_values(inline, blobs),
        partial=sorted(name for name in deltas if name not in inline and name not in channels),
        tasks=[(task_id, path) for task_id, path in row["tasks"] or () if task_id != _NO_TASK],
        questions=[_question(blob) for blob in questions],
    )


def _question(blob: bytes) -> Any:
    asked = read_blob("msgpack", blob)
    values = [getattr(each, "value", each) for each in (asked if isinstance(asked, list | tuple) else [asked])]
    return to_json(values[0] if len(values) == 1 else values)
