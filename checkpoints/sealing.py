"""Owns which places sealed values have, and how rows of checkpoints, writes and events are sealed and opened.

What a vault does with a value is its own business. Values of other tables go through the vault where they are read and
written, at the places that are made here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from threadline.checkpoints.buffer import BlobRow, CheckpointRow, WriteRow
from threadline.checkpoints.vault import Place, Tampered, Vault

SEALED_VALUES = "sealed_values"  # the key of a checkpoint that holds what LangGraph keeps in its `channel_values`
_ORDINAL_BYTES = 8

Contents = Sequence[Sequence[Any]]


def checkpoint_place(thread_id: str, ns: str, checkpoint_id: str) -> Place:
    """Return where the values lie that a checkpoint holds itself."""
    return Place("checkpoints", "checkpoint", (thread_id, ns, checkpoint_id))


def blob_place(thread_id: str, ns: str, channel: str, version: str) -> Place:
    """Return where one version of a channel's value lies."""
    return Place("checkpoint_blobs", "blob", (thread_id, ns, channel, version))


def write_place(thread_id: str, ns: str, checkpoint_id: str, task_id: str, idx: int, channel: str) -> Place:
    """Return where a pending write lies, also while it is kept aside for a rollback."""
    return Place("checkpoint_writes", "blob", (thread_id, ns, checkpoint_id, task_id, str(idx), channel))


def events_place(thread_id: UUID, run_id: UUID, contents: Contents) -> Place:
    """Return where a chunk of events lies: its number is made by the database, so what it holds stands for it."""
    return Place("run_events", "payload", (str(thread_id), str(run_id), orjson.dumps(contents).decode()))


def thread_place(column: str, thread_id: UUID | str) -> Place:
    """Return where a value of a thread lies."""
    return Place("threads", column, (str(thread_id),))


def run_place(column: str, run_id: UUID | str) -> Place:
    """Return where a value of a run lies, also in the row of a webhook that tells of it."""
    return Place("runs", column, (str(run_id),))


def cron_place(column: str, cron_id: UUID | str) -> Place:
    """Return where a value of a cron lies."""
    return Place("crons", column, (str(cron_id),))


def effect_place(thread_id: UUID | str, task_id: str, name: str) -> Place:
    """Return where the result of an effect lies."""
    return Place("effects", "blob", (str(thread_id), task_id, name))


def item_place(prefix: str, key: str) -> Place:
    """Return where an item of the store lies."""
    return Place("store", "value", (prefix, key))


async def seal_checkpoint(vault: Vault, thread_id: str, row: CheckpointRow) -> str:
    """Return the JSON text of a checkpoint, with the values it holds sealed."""
    (sealed,) = await vault.seal_json([(checkpoint_place(thread_id, row.ns, row.id), row.apart or "{}")])
    return join_values(row.checkpoint, sealed)


def join_values(checkpoint: str, sealed: str) -> str:
    """Put sealed values into the JSON text of a checkpoint."""
    return checkpoint if sealed == "{}" else f'{checkpoint[:-1]},"{SEALED_VALUES}":{sealed}}}'


async def seal_blobs(vault: Vault, thread_id: str, rows: Sequence[BlobRow]) -> list[BlobRow]:
    """Return the rows with their values sealed; those without a value stay as they are."""
    full = [row for row in rows if row.blob is not None]
    items = [(blob_place(thread_id, row.ns, row.channel, row.version), row.type, row.blob or b"") for row in full]
    sealed = iter(await vault.seal_typed(items))
    return [_with(row, next(sealed)) if row.blob is not None else row for row in rows]


async def seal_writes(vault: Vault, thread_id: str, rows: Sequence[WriteRow]) -> list[WriteRow]:
    """Return the rows with their values sealed."""
    items = [
        (write_place(thread_id, row.ns, row.id, row.task, row.idx, row.channel), row.type, row.blob) for row in rows
    ]
    sealed = await vault.seal_typed(items)
    return [row._replace(type=kind, blob=blob) for row, (kind, blob) in zip(rows, sealed, strict=True)]


def _with(row: BlobRow, sealed: tuple[str, bytes]) -> BlobRow:
    return row._replace(type=sealed[0], blob=sealed[1])


async def open_checkpoint(vault: Vault, row: dict[str, Any]) -> None:
    """Open, in place, a row of the saver's select: the values in the checkpoint, its blobs and its pending writes."""
    thread_id, ns, checkpoint_id = row["thread_id"], row["checkpoint_ns"], row["checkpoint_id"]
    versions = row["checkpoint"].get("channel_versions") or {}
    blobs = [(channel.decode(), kind.decode(), blob) for channel, kind, blob in row["channel_values"] or ()]
    row["checkpoint"]["channel_values"] = await open_inline(
        vault, (thread_id, ns, checkpoint_id), row["checkpoint"], {channel for channel, _, _ in blobs}
    )
    opened = await open_blobs(vault, (thread_id, ns), blobs, versions)
    row["channel_values"] = [(channel.encode(), kind.encode(), blob) for channel, kind, blob in opened]
    writes = row["pending_writes"] or []
    items = [
        (
            write_place(thread_id, ns, checkpoint_id, task.decode(), int(idx), channel.decode()),
            kind.decode(),
            blob,
        )
        for task, channel, kind, blob, _, idx in writes
    ]
    row["pending_writes"] = [
        (task, channel, kind.encode(), blob, path, idx)
        for (task, channel, _, _, path, idx), (kind, blob) in zip(writes, await vault.open_typed(items), strict=True)
    ]


async def open_inline(
    vault: Vault, key: tuple[str, str, str], checkpoint: dict[str, Any], with_blob: set[str]
) -> dict[str, Any]:
    """Return the values that the checkpoint holds itself.

    One that is not sealed with the others is no more than the mark of a snapshot, which lies in a blob.
    """
    place = checkpoint_place(*key)
    inline = checkpoint.get("channel_values") or {}
    marks = {channel for channel, value in inline.items() if value is True and channel in with_blob}
    loose = {channel: value for channel, value in inline.items() if channel not in marks}
    values: dict[str, Any] = dict.fromkeys(marks, True)
    for part in (loose, checkpoint.pop(SEALED_VALUES, None)):
        if part:
            (opened,) = await vault.open_json([(place, part)])
            values.update(opened)
    return values


async def open_blobs(
    vault: Vault,
    key: tuple[str, str],
    blobs: Sequence[tuple[str, str, bytes | None]],
    versions: Mapping[str, Any],
) -> list[tuple[str, str, bytes | None]]:
    """Return (channel, type, bytes) of values as they were, given the versions that the checkpoint refers to."""
    full = [blob for blob in blobs if blob[2] is not None]
    items = [
        (blob_place(*key, channel, str(versions.get(channel))), kind, bytes(data or b""))
        for channel, kind, data in full
    ]
    opened = iter(await vault.open_typed(items))
    return [blob if blob[2] is None else (blob[0], *next(opened)) for blob in blobs]


async def seal_events(
    vault: Vault, thread_id: UUID, run_id: UUID, contents: Contents, payload: bytes, at: int
) -> bytes:
    """Return a chunk of events as it is stored. `at` grows with each chunk of a run, so that their order shows."""
    if not vault.seals:
        return payload
    place = events_place(thread_id, run_id, contents)
    return (await vault.seal([(place, number_events(at, payload))]))[0]


def number_events(at: int, payload: bytes) -> bytes:
    """Return what is sealed of a chunk of events."""
    return at.to_bytes(_ORDINAL_BYTES, "big") + payload


def ordinal(epoch: int, share: int = 0) -> int:
    """Return the number of a chunk of events: chunks of an earlier owner of the run come first."""
    return (epoch << 32) | share


async def open_events(vault: Vault, rows: Sequence[tuple[UUID, UUID, Contents, bytes]]) -> list[bytes]:
    """Return the payloads of (thread, run, contents, payload) in the order of the log. Raises VaultError.

    Chunks of one run in another order than they were written in, or one of them twice, are refused.
    """
    if not vault.seals:
        return [payload for *_, payload in rows]
    spoken = [_says_nothing(run_id, contents, payload) for _, run_id, contents, payload in rows]
    places = [events_place(thread_id, run_id, contents) for thread_id, run_id, contents, _ in rows]
    items = [(place, bytes(row[3])) for place, row, skip in zip(places, rows, spoken, strict=True) if not skip]
    opened = iter(await vault.open(items))
    last: dict[tuple[UUID, UUID], int] = {}
    payloads = []
    for row, place, skip in zip(rows, places, spoken, strict=True):
        data = bytes(row[3]) if skip else next(opened)
        length = sum(length for _, length, _ in row[2])
        if not skip and len(data) == length + _ORDINAL_BYTES:
            at, data = int.from_bytes(data[:_ORDINAL_BYTES], "big"), data[_ORDINAL_BYTES:]
            if at <= last.get(row[:2], -1):
                raise Tampered(f"{place.table} of the run {row[1]} are not in the order they were written in.")
            last[row[:2]] = at
        payloads.append(data)
    return payloads


def _says_nothing(run_id: UUID, contents: Contents, payload: bytes) -> bool:
    """Whether this is the event that the database itself writes when a run is claimed: its id and its attempt."""
    if len(contents) != 1 or contents[0][0] != "metadata" or len(payload) > 128:
        return False
    begin, end = f'{{"run_id":"{run_id}","attempt":'.encode(), b"}"
    data = bytes(payload)
    return data.startswith(begin) and data.endswith(end) and data[len(begin) : -len(end)].isdigit()


async def open_text(vault: Vault, place: Place, text: str | None) -> str | None:
    """Return JSON text that was stored as JSON text; what was not sealed stays as it is."""
    if text is None or not vault.seals:
        return text
    value = json.loads(text)
    (opened,) = await vault.open_json([(place, value)])
    return text if opened is value else json.dumps(opened, separators=(",", ":"))
