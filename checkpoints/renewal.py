"""Owns how one row of each table is opened where it came from and sealed for where it lies."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from threadline.checkpoints.handler_form import Context, read_context
from threadline.checkpoints.rows import dump_json
from threadline.checkpoints.sealing import (
    SEALED_VALUES,
    blob_place,
    checkpoint_place,
    cron_place,
    effect_place,
    events_place,
    item_place,
    number_events,
    open_inline,
    open_text,
    run_place,
    thread_place,
    write_place,
)
from threadline.checkpoints.vault import Place, Vault

Row = dict[str, Any]
# Opens the row's values, those of a thread as ones of the `source` if it is a copy, and returns its columns anew.
Renew = Callable[[Vault, Row, str | None], Awaitable[Row]]


@dataclass(frozen=True, slots=True)
class Renewal:
    """How a table's rows are renewed. `start` is what comes before its first key; `needs` is null in a row held."""

    start: Mapping[str, Any]
    needs: str
    renew: Renew

    def is_held(self, row: Row) -> bool:
        """Whether somebody else has the row, so that the page has its key only."""
        return row[self.needs] is None


async def _renew_checkpoint(vault: Vault, row: Row, source: str | None) -> Row:
    ns, checkpoint_id, checkpoint = row["checkpoint_ns"], row["checkpoint_id"], row["checkpoint"]
    context = read_context(checkpoint.get(SEALED_VALUES))
    marks = {channel for channel, value in (checkpoint.get("channel_values") or {}).items() if value is True}
    marks &= set(row["stored"])
    values = await open_inline(vault, (source or row["thread_id"], ns, checkpoint_id), checkpoint, marks)
    apart = dump_json({channel: value for channel, value in values.items() if channel not in marks})
    place = _in(checkpoint_place(row["thread_id"], ns, checkpoint_id), context)
    (sealed,) = await vault.seal_json([(place, apart)])
    checkpoint["channel_values"] = dict.fromkeys(marks, True)
    if sealed != "{}":
        checkpoint[SEALED_VALUES] = json.loads(sealed)
    return {"checkpoint": dump_json(checkpoint)}


async def _renew_typed(vault: Vault, row: Row, opens: Place, seals: Place) -> Row:
    if row["type"] == "empty" or row["blob"] is None:
        return {"type": row["type"], "blob": row["blob"]}
    (opened,) = await vault.open_typed([(opens, row["type"], row["blob"])])
    ((kind, blob),) = await vault.seal_typed([(_in(seals, read_context(row["blob"])), *opened)])
    return {"type": kind, "blob": blob}


async def _renew_blob(vault: Vault, row: Row, source: str | None) -> Row:
    place = blob_place(row["thread_id"], row["checkpoint_ns"], row["channel"], row["version"])
    return await _renew_typed(vault, row, _of(place, source), place)


async def _renew_write(vault: Vault, row: Row, source: str | None) -> Row:
    place = write_place(
        str(row["thread_id"]), row["checkpoint_ns"], row["checkpoint_id"], row["task_id"], row["idx"], row["channel"]
    )
    return await _renew_typed(vault, row, _of(place, source), place)


async def _renew_effect(vault: Vault, row: Row, _source: str | None) -> Row:
    place = effect_place(row["thread_id"], row["task_id"], row["name"])
    return await _renew_typed(vault, row, place, place)


def _in(place: Place, context: Context | None) -> Place:
    """Return the place with the context that its value was sealed in."""
    return place if context is None else place._replace(context=context)


def _of(place: Place, source: str | None) -> Place:
    return place if source is None else place._replace(key=(source, *place.key[1:]))


async def _renew_events(vault: Vault, row: Row, _source: str | None) -> Row:
    place = events_place(row["thread_id"], row["run_id"], row["contents"])
    (opened,) = await vault.open([(place, row["payload"])])
    if len(opened) == sum(length for _, length, _ in row["contents"]):
        opened = number_events(row["first_seq"], opened)
    return {"payload": (await vault.seal([(_in(place, read_context(row["payload"])), opened)]))[0]}


async def _renew_texts(vault: Vault, row: Row, places: Mapping[str, tuple[Place, Place]]) -> Row:
    changed: Row = {}
    for column, (opens, seals) in places.items():
        text = await open_text(vault, opens, row[column])
        changed[column] = None if text is None else await _seal_text(vault, _in(seals, read_context(row[column])), text)
    return changed


async def _seal_text(vault: Vault, place: Place, text: str) -> str:
    return (await vault.seal_json([(place, text)]))[0]


async def _renew_thread(vault: Vault, row: Row, source: str | None) -> Row:
    columns = ("values", "interrupts", "error", "config")
    thread_id = row["thread_id"]
    return await _renew_texts(
        vault, row, {name: (thread_place(name, source or thread_id), thread_place(name, thread_id)) for name in columns}
    )


async def _renew_run(vault: Vault, row: Row, _source: str | None) -> Row:
    return await _renew_texts(vault, row, {name: (run_place(name, row["run_id"]),) * 2 for name in ("kwargs", "error")})


async def _renew_webhook(vault: Vault, row: Row, _source: str | None) -> Row:
    run = json.loads(row["run"])
    for name in ("kwargs", "error"):
        place = run_place(name, row["run_id"])
        if run[name] is not None:
            (opened,) = await vault.open_json([(place, run[name])])
            (sealed,) = await vault.seal_json([(_in(place, read_context(run[name])), json.dumps(opened))])
            run[name] = json.loads(sealed)
    place = thread_place("values", row["thread_id"])
    values = await _renew_texts(vault, row, {"values": (place, place)})
    return {"run": json.dumps(run, separators=(",", ":")), **values}


async def _renew_cron(vault: Vault, row: Row, _source: str | None) -> Row:
    places = {name: (cron_place(name, row["cron_id"]),) * 2 for name in ("payload", "kwargs")}
    return await _renew_texts(vault, row, places)


async def _renew_item(vault: Vault, row: Row, _source: str | None) -> Row:
    return await _renew_texts(vault, row, {"value": (item_place(row["prefix"], row["key"]),) * 2})


_ZERO = UUID(int=0)
_OF_CHECKPOINT = {"thread_id": "", "checkpoint_ns": "", "checkpoint_id": ""}
_OF_WRITE = {"task_id": "", "idx": -(2**31)}
_OF_BASE = {"thread_id": _ZERO, "run_id": _ZERO, "checkpoint_ns": "", "checkpoint_id": "", **_OF_WRITE}

RENEWALS: Mapping[str, Renewal] = {
    "checkpoints": Renewal(_OF_CHECKPOINT, "checkpoint", _renew_checkpoint),
    "blobs": Renewal({"thread_id": "", "checkpoint_ns": "", "channel": "", "version": ""}, "type", _renew_blob),
    "writes": Renewal({**_OF_CHECKPOINT, **_OF_WRITE}, "channel", _renew_write),
    "base_writes": Renewal(_OF_BASE, "channel", _renew_write),
    "effects": Renewal({"thread_id": _ZERO, "task_id": "", "name": ""}, "type", _renew_effect),
    "events": Renewal({"thread_id": _ZERO, "last_seq": -1}, "payload", _renew_events),
    "threads": Renewal({"thread_id": _ZERO}, "interrupts", _renew_thread),
    "runs": Renewal({"run_id": _ZERO}, "kwargs", _renew_run),
    "webhooks": Renewal({"delivery_id": -1}, "run", _renew_webhook),
    "crons": Renewal({"cron_id": _ZERO}, "kwargs", _renew_cron),
    "items": Renewal({"prefix": "", "key": ""}, "value", _renew_item),
}
