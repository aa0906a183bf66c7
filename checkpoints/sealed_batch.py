"""Owns the sealing of a batch: whatever the runs of a process commit together is sealed just before it is sent.

What is published to streams of this process stays as it was; only the parameters of the statement are replaced.
"""

from collections.abc import Callable, Sequence
from typing import Any

from threadline.checkpoints.arrays import ByteaArray, TextArray
from threadline.checkpoints.batch import Parameters, Share
from threadline.checkpoints.sealing import (
    blob_place,
    checkpoint_place,
    events_place,
    join_values,
    number_events,
    ordinal,
    run_place,
    thread_place,
    write_place,
)
from threadline.checkpoints.vault import Place, Vault, VaultError


async def seal_batch(vault: Vault, shares: Sequence[Share], parameters: Parameters) -> None:
    """Seal, in place, what `flush` would store of these shares. Raises VaultError."""
    if not vault.seals:
        return
    await _seal_checkpoints(vault, shares, parameters)
    await _seal_typed(vault, shares, parameters, "b", lambda thread, row: blob_place(thread, *map(row, _BLOB)))
    for prefix in ("w", "o"):
        await _seal_typed(vault, shares, parameters, prefix, lambda thread, row: write_place(thread, *map(row, _WRITE)))
    await _seal_events(vault, shares, parameters)
    await _seal_finishes(vault, shares, parameters)


_BLOB = ("ns", "channel", "version")
_WRITE = ("ns", "id", "task", "idx", "channel")
# The array of a finish, and where it lies.
_OF_THREAD = {"f_thread_error": "error", "f_values": "values", "f_interrupts": "interrupts", "f_config": "config"}


def _thread_of(share: Share) -> str:
    return str(share.buffer.fence.thread_id)


def _of(share: Share, place: Place) -> Place:
    """Return the place with the context of the run: the batch is sealed where there is none."""
    return place if share.buffer.context is None else place._replace(context=share.buffer.context)


async def _seal_checkpoints(vault: Vault, shares: Sequence[Share], parameters: Parameters) -> None:
    apart: list[str | None] = parameters["c_apart"]
    if None in apart:
        raise VaultError("A checkpoint was encoded without regard to encryption: its values would be in plain text.")
    keys = zip(*(parameters[name].values for name in ("c_ord", "c_ns", "c_id")), strict=True)
    items = []
    for (ord_, ns, id_), text in zip(keys, apart, strict=True):
        share = shares[ord_ - 1]
        items.append((_of(share, checkpoint_place(_thread_of(share), ns, id_)), text or "{}"))
    sealed = await vault.seal_json(items)
    texts = zip(parameters["c_checkpoint"].values, sealed, strict=True)
    parameters["c_checkpoint"] = TextArray([join_values(text, values) for text, values in texts])


async def _seal_typed(
    vault: Vault,
    shares: Sequence[Share],
    parameters: Parameters,
    prefix: str,
    place: Callable[[str, Callable[[str], Any]], Place],
) -> None:
    kinds, blobs = parameters[f"{prefix}_type"].values, parameters[f"{prefix}_blob"].values
    full = [position for position, blob in enumerate(blobs) if blob is not None]
    items = []
    for position in full:

        def read(name: str, position: int = position) -> Any:
            return parameters[f"{prefix}_{name}"].values[position]

        share = shares[read("ord") - 1]
        items.append((_of(share, place(_thread_of(share), read)), kinds[position], blobs[position]))
    sealed_kinds, sealed_blobs = list(kinds), list(blobs)
    for position, (kind, blob) in zip(full, await vault.seal_typed(items), strict=True):
        sealed_kinds[position], sealed_blobs[position] = kind, blob
    parameters[f"{prefix}_type"] = TextArray(sealed_kinds)
    parameters[f"{prefix}_blob"] = ByteaArray(sealed_blobs)


async def _seal_events(vault: Vault, shares: Sequence[Share], parameters: Parameters) -> None:
    items = []
    for share in shares:
        if share.contents:
            fence = share.buffer.fence
            share.buffer.shares += 1
            place = _of(share, events_place(fence.thread_id, fence.run_id, share.contents))
            items.append((place, number_events(ordinal(fence.epoch, share.buffer.shares), share.payload)))
    parameters["e_payload"] = ByteaArray(await vault.seal(items))


async def _seal_finishes(vault: Vault, shares: Sequence[Share], parameters: Parameters) -> None:
    ended = [shares[ord_ - 1] for ord_ in parameters["f_ord"].values]
    for name, column in _OF_THREAD.items():
        places = [_of(share, thread_place(column, share.buffer.fence.thread_id)) for share in ended]
        parameters[name] = await _seal_texts(vault, places, parameters[name].values)
    places = [_of(share, run_place("error", share.buffer.fence.run_id)) for share in ended]
    parameters["f_error"] = await _seal_texts(vault, places, parameters["f_error"].values)


async def _seal_texts(vault: Vault, places: Sequence[Place], texts: Sequence[str | None]) -> TextArray:
    given = [(place, text) for place, text in zip(places, texts, strict=True) if text is not None]
    sealed = iter(await vault.seal_json(given))
    return TextArray([None if text is None else next(sealed) for text in texts])
