"""Owns forks: a new thread that begins where another one was, to try something else from there.

The source is only read. Whatever graph made it need not exist any more; to go on, the fork needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from threadline.checkpoints.handler_form import Context, read_context
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.rewriting import seal_copy
from threadline.checkpoints.sealing import open_text, thread_place, write_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import sealing_in, vault_of
from threadline.replay.edits import Edit, apply_edits
from threadline.replay.snapshots import snapshot
from threadline.replay.steps import find_namespace, read_step
from threadline.replay.values import read_blob, to_json
from threadline.runs.callers import permit
from threadline.runs.encoding import encode
from threadline.runs.errors import CheckpointNotFound, Invalid
from threadline.runs.identity import uuid7
from threadline.runs.metadata import encode_metadata, refuse_unstorable
from threadline.runs.model import JsonObject, ThreadStatus
from threadline.runs.sealed_rows import seal_thread

_SQL = load_statements("threadline.replay", "fork.sql")

ORIGIN = "forked_from"  # the key of a fork's metadata that names the thread and the checkpoint it began at


@dataclass(frozen=True, slots=True)
class Fork:
    """A fork as it begins: its own thread, and where it comes from."""

    thread_id: UUID
    forked_from: JsonObject
    status: ThreadStatus

    def view(self) -> JsonObject:
        """Return the fork as JSON-able values."""
        return {"thread_id": self.thread_id, ORIGIN: self.forked_from, "status": self.status}


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the source says: the path to the checkpoint, newest first, and whether it was gone on from."""

    path: list[str]
    is_tip: bool
    goes_on: bool


async def fork(pool: Pool, source: UUID, checkpoint_id: str | None = None, edits: Sequence[Edit] = ()) -> Fork:
    """Make a new thread out of the source's past up to a checkpoint of its root graph, the latest unless one is named.

    At a checkpoint that was gone on from, the fork is what the thread was before: an open question is open again, and
    no later result is in it. Runs on the source go on meanwhile: all is read as of one moment. Raises ThreadNotFound,
    CheckpointNotFound, and Invalid for an edit that cannot be.
    """
    refuse_unstorable(checkpoint_id, "the checkpoint's id")
    target = uuid7()
    made: JsonObject = {"thread_id": target, "metadata": {}}
    await permit("threads", "create", made)
    async with snapshot(pool, source, writes=True) as connection:
        if checkpoint_id is None:
            checkpoint_id = (await read_step(connection, source)).checkpoint_id
        origin = await _find_origin(connection, source, checkpoint_id)
        await _copy(connection, source, target, origin)
        step = await read_step(connection, target, checkpoint_id) if edits else None
        context = await _read_context(connection, source)
        if step is not None:
            with sealing_in(context):
                await apply_edits(connection, target, checkpoint_id, edits, step.partial)
        came_from: JsonObject = {"thread_id": str(source), "checkpoint_id": checkpoint_id}
        if edits:
            came_from["set"] = {edit.pointer: edit.value for edit in edits}
        labels = {**made["metadata"], ORIGIN: came_from}
        with sealing_in(context):
            status = await _settle(connection, source, target, origin, labels, edited=bool(edits))
    return Fork(target, came_from, status)


async def _read_context(connection: AsyncConnection[Any], source: UUID) -> Context | None:
    """Return the context that the source's values are sealed in: a fork is its owner's as well."""
    cursor = await connection.execute(_SQL["source"], {"source": source})
    row = await cursor.fetchone()
    assert row is not None
    _, config, _, *texts, _ = row
    return read_context(config, *texts)


async def _find_origin(connection: AsyncConnection[Any], source: UUID, checkpoint_id: str) -> _Origin:
    cursor = await connection.execute(_SQL["path"], {"source": source, "checkpoint_id": checkpoint_id})
    rows = await cursor.fetchall()
    if not rows:
        namespace = await find_namespace(connection, source, checkpoint_id)
        if namespace is None:
            raise CheckpointNotFound(source, checkpoint_id)
        raise Invalid(
            f"Checkpoint {checkpoint_id} is one of the subgraph {namespace!r}. Name the checkpoint of the thread's own "
            "graph from which that subgraph was called: the fork takes the subgraph's along."
        )
    return _Origin([row[0] for row in rows], is_tip=rows[0][1] == 0, goes_on=rows[0][2])


async def _copy(connection: AsyncConnection[Any], source: UUID, target: UUID, origin: _Origin) -> None:
    parameters = {
        "source": source,
        "target": target,
        "checkpoint_id": origin.path[0],
        "path": origin.path,
        "next": [None, *origin.path[:-1]],
        "is_tip": origin.is_tip,
    }
    for name in ("create_thread", "copy_root", "copy_subgraphs", "copy_blobs", "copy_writes"):
        await connection.execute(_SQL[name], parameters)
    await seal_copy(connection, source, target)


async def _settle(
    connection: AsyncConnection[Any],
    source: UUID,
    target: UUID,
    origin: _Origin,
    labels: JsonObject,
    *,
    edited: bool,
) -> ThreadStatus:
    """Make the thread say what its last checkpoint means; where that is the source's own end, what the source says."""
    cursor = await connection.execute(_SQL["source"], {"source": source})
    row = await cursor.fetchone()
    assert row is not None
    metadata, config, status, *texts, inflight = row
    vault = vault_of(connection)
    names = ("values", "interrupts", "error")
    values, interrupts, error = [
        await open_text(vault, thread_place(name, source), text) for name, text in zip(names, texts, strict=True)
    ]
    (config,) = await vault.open_json([(thread_place("config", source), config)])
    if not (origin.is_tip and inflight == 0):
        asked = await _questions(connection, target, origin.path[0])
        interrupts, error = encode(asked).decode(), None
        is_open = asked or origin.goes_on or origin.is_tip
        status = ThreadStatus.INTERRUPTED if is_open else ThreadStatus.IDLE
    if edited or not (origin.is_tip and inflight == 0):
        values = encode((await read_step(connection, target, origin.path[0])).values).decode()
    texts = {"config": encode(config).decode(), "values": values, "interrupts": interrupts, "error": error}
    settled = {
        "target": target,
        "metadata": encode_metadata({**metadata, **labels}),
        "status": status,
        **await seal_thread(vault, target, texts),
    }
    await connection.execute(_SQL["settle_thread"], settled)
    return ThreadStatus(status)


async def _questions(connection: AsyncConnection[Any], target: UUID, checkpoint_id: str) -> JsonObject:
    cursor = await connection.execute(_SQL["questions"], {"target": target, "checkpoint_id": checkpoint_id})
    asked: JsonObject = {}
    for task_id, idx, *stored in await cursor.fetchall():
        place = write_place(str(target), "", checkpoint_id, task_id, idx, "__interrupt__")
        ((kind, blob),) = await vault_of(connection).open_typed([(place, *stored)])
        found = read_blob(kind, blob)
        for each in found if isinstance(found, list | tuple) else [found]:
            question = {"id": getattr(each, "id", None), "value": to_json(getattr(each, "value", each))}
            asked.setdefault(task_id, []).append(question)
    return asked


def parse_edits(texts: Sequence[str]) -> list[Edit]:
    """Read `path=value` each. Raises Invalid."""
    return [Edit.parse(text) for text in texts]


def read_edits(values: JsonObject) -> list[Edit]:
    """Return the edits of a JSON object of path to value."""
    return [Edit.at(where, orjson.loads(encode(value))) for where, value in values.items()]
