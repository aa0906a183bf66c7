"""Owns how entries of many runs become the array parameters of one flush."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from threadline.checkpoints.arrays import BooleanArray, ByteaArray, IntegerArray, TextArray, UuidArray
from threadline.checkpoints.buffer import BlobRow, CheckpointRow, Entry, Finish, RunBuffer, WriteRow

Parameters = dict[str, Any]


@dataclass(slots=True, eq=False)
class Share:
    """What one run has in a batch."""

    buffer: RunBuffer
    entries: list[Entry]
    contents: list[tuple[str, int, int]]
    payload: bytes
    behind: Sequence[Entry] = ()  # entries of the run that were taken with these and must not overtake them

    @property
    def finish(self) -> Finish | None:
        return self.entries[-1].finish if self.entries else None  # nothing comes behind an end


def gather(buffers: Iterable[RunBuffer], max_bytes: int, max_rows: int) -> list[Share]:
    """Take ready entries of `buffers` until the limits are reached."""
    shares: list[Share] = []
    for buffer in buffers:
        entries, size, rows = buffer.take(max_bytes, max_rows)
        if not entries:
            continue
        shares.append(make_share(buffer, entries))
        max_bytes -= size
        max_rows -= rows
        if max_bytes <= 0 or max_rows <= 0:
            break
    return shares


def make_share(buffer: RunBuffer, entries: list[Entry], behind: Sequence[Entry] = ()) -> Share:
    """Lay the events of `entries` end to end."""
    events = [event for entry in entries for event in entry.events]
    contents = [(name, len(data), time) for name, data, time in events]
    return Share(buffer, entries, contents, b"".join([data for _, data, _ in events]), behind)


def bind(shares: Sequence[Share]) -> Parameters:
    """Return the parameters of the `flush` statement, all of its arrays in step."""
    parameters: Parameters = {}
    parameters.update(_bind_fences(shares))
    parameters.update(_bind_checkpoints(shares))
    parameters.update(_bind_writes(shares))
    parameters.update(_bind_events(shares))
    parameters.update(_bind_finishes(shares))
    return parameters


def _bind_fences(shares: Sequence[Share]) -> Parameters:
    fences = [share.buffer.fence for share in shares]
    finishes = [share.finish for share in shares]
    return {
        "thread_id": UuidArray([fence.thread_id for fence in fences]),
        "run_id": UuidArray([fence.run_id for fence in fences]),
        "epoch": IntegerArray([fence.epoch for fence in fences]),
        "events": IntegerArray([len(share.contents) for share in shares]),
        "checkpointed": BooleanArray([any(entry.checkpoints for entry in share.entries) for share in shares]),
        "finishing": BooleanArray([finish is not None for finish in finishes]),
        "cancel_known": BooleanArray([finish is not None and finish.cancel_known for finish in finishes]),
    }


def _bind_checkpoints(shares: Sequence[Share]) -> Parameters:
    # A statement cannot touch one row twice: of one key's checkpoints the last counts, of its blobs the first.
    checkpoints: dict[tuple[int, str, str], CheckpointRow] = {}
    blobs: dict[tuple[int, str, str, str], BlobRow] = {}
    for ord_, share in enumerate(shares, 1):
        for entry in share.entries:
            for row in entry.checkpoints:
                checkpoints[ord_, row.ns, row.id] = row
            for blob in entry.blobs:
                blobs.setdefault((ord_, blob.ns, blob.channel, blob.version), blob)
    return {
        "c_ord": IntegerArray([key[0] for key in checkpoints]),
        "c_ns": TextArray([row.ns for row in checkpoints.values()]),
        "c_id": TextArray([row.id for row in checkpoints.values()]),
        "c_parent": TextArray([row.parent for row in checkpoints.values()]),
        "c_checkpoint": TextArray([row.checkpoint for row in checkpoints.values()]),
        "c_metadata": TextArray([row.metadata for row in checkpoints.values()]),
        "c_apart": [row.apart for row in checkpoints.values()],  # for `seal_batch`
        "b_ord": IntegerArray([key[0] for key in blobs]),
        "b_ns": TextArray([blob.ns for blob in blobs.values()]),
        "b_channel": TextArray([blob.channel for blob in blobs.values()]),
        "b_version": TextArray([blob.version for blob in blobs.values()]),
        "b_type": TextArray([blob.type for blob in blobs.values()]),
        "b_blob": ByteaArray([blob.blob for blob in blobs.values()]),
    }


def _bind_writes(shares: Sequence[Share]) -> Parameters:
    # Keeping: the first write of a key counts. Overwriting: the last, and it beats a keeping one.
    kept: dict[tuple[int, str, str, str, int], WriteRow] = {}
    overwriting: dict[tuple[int, str, str, str, int], WriteRow] = {}
    for ord_, share in enumerate(shares, 1):
        for entry in share.entries:
            for row in entry.writes:
                key = (ord_, row.ns, row.id, row.task, row.idx)
                if row.overwrite:
                    overwriting[key] = row
                else:
                    kept.setdefault(key, row)
    for key in overwriting:
        kept.pop(key, None)
    return {**_bind_write_rows("w", kept), **_bind_write_rows("o", overwriting), **_bind_bases(shares)}


def _bind_bases(shares: Sequence[Share]) -> Parameters:
    bases = [
        (ord_, ns, id_) for ord_, share in enumerate(shares, 1) for entry in share.entries for ns, id_ in entry.bases
    ]
    return {
        "a_ord": IntegerArray([ord_ for ord_, _, _ in bases]),
        "a_ns": TextArray([ns for _, ns, _ in bases]),
        "a_id": TextArray([id_ for _, _, id_ in bases]),
    }


def _bind_write_rows(prefix: str, rows: dict[tuple[int, str, str, str, int], WriteRow]) -> Parameters:
    return {
        f"{prefix}_ord": IntegerArray([key[0] for key in rows]),
        f"{prefix}_ns": TextArray([row.ns for row in rows.values()]),
        f"{prefix}_id": TextArray([row.id for row in rows.values()]),
        f"{prefix}_task": TextArray([row.task for row in rows.values()]),
        f"{prefix}_path": TextArray([row.path for row in rows.values()]),
        f"{prefix}_idx": IntegerArray([row.idx for row in rows.values()]),
        f"{prefix}_channel": TextArray([row.channel for row in rows.values()]),
        f"{prefix}_type": TextArray([row.type for row in rows.values()]),
        f"{prefix}_blob": ByteaArray([row.blob for row in rows.values()]),
    }


def _bind_events(shares: Sequence[Share]) -> Parameters:
    logged = [(ord_, share) for ord_, share in enumerate(shares, 1) if share.contents]
    return {
        "e_ord": IntegerArray([ord_ for ord_, _ in logged]),
        "e_contents": TextArray([orjson.dumps(share.contents).decode() for _, share in logged]),
        "e_payload": ByteaArray([share.payload for _, share in logged]),
    }


def _bind_finishes(shares: Sequence[Share]) -> Parameters:
    finishes = [(ord_, share.finish) for ord_, share in enumerate(shares, 1) if share.finish]
    return {
        "f_ord": IntegerArray([ord_ for ord_, _ in finishes]),
        "f_status": TextArray([finish.status for _, finish in finishes if finish]),
        "f_error": TextArray([finish.error for _, finish in finishes if finish]),
        "f_thread_error": TextArray([finish.error for _, finish in finishes if finish]),
        "f_thread_status": TextArray([finish.thread_status for _, finish in finishes if finish]),
        "f_values": TextArray([finish.values for _, finish in finishes if finish]),
        "f_interrupts": TextArray([finish.interrupts for _, finish in finishes if finish]),
        "f_config": TextArray([finish.config for _, finish in finishes if finish]),
    }
