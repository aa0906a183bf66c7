"""Owns the edits of a fork: values set at a path of its last checkpoint, before anything runs on it.

The checkpoint keeps its id, and with it its open question and its finished tasks. An edit triggers no node: the
nodes that had seen a value count as having seen the new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from threadline.checkpoints.rows import dump_json, split_channel_values
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.sealing import blob_place, checkpoint_place, join_values, open_inline
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import Vault, vault_of
from threadline.replay.sealed import pack, replace, unpack
from threadline.replay.values import read_blob
from threadline.runs.errors import Invalid
from threadline.runs.model import JsonObject

_SQL = load_statements("threadline.replay", "fork.sql")


@dataclass(frozen=True, slots=True)
class Edit:
    """A value to be set, and where: the name of a value of the state, then keys and indexes."""

    path: tuple[str, ...]
    value: Any

    @classmethod
    def parse(cls, text: str) -> "Edit":
        """Read `path=value`: names with dots between or a JSON pointer; JSON, or else text. Raises Invalid."""
        where, found, value = text.partition("=")
        if not found or not where:
            raise Invalid(f"{text!r} sets nothing: write path=value, such as plan.0.query=42")
        try:
            return cls.at(where, orjson.loads(value))
        except orjson.JSONDecodeError:
            return cls.at(where, value)

    @classmethod
    def at(cls, where: str, value: Any) -> "Edit":
        """Return the edit at `where`: names with dots between, or a JSON pointer."""
        if where.startswith("/"):
            return cls(tuple(part.replace("~1", "/").replace("~0", "~") for part in where[1:].split("/")), value)
        return cls(tuple(where.split(".")), value)

    @property
    def pointer(self) -> str:
        """The place as a JSON pointer."""
        return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in self.path)


async def apply_edits(
    connection: AsyncConnection[Any], target: UUID, checkpoint_id: str, edits: Sequence[Edit], partial: Sequence[str]
) -> None:
    """Change the fork's last checkpoint; `partial` are the values it does not hold whole. Raises Invalid."""
    place = {"target": target, "checkpoint_id": checkpoint_id}
    cursor = await connection.execute(_SQL["checkpoint"], place)
    row = await cursor.fetchone()
    checkpoint: JsonObject = row[0] if row else {}
    vault = vault_of(connection)
    if vault.seals:
        await _open_values(vault, target, checkpoint_id, checkpoint)
    for edit in edits:
        channel = edit.path[0]
        if channel not in checkpoint["channel_versions"]:
            known = ", ".join(name for name in checkpoint["channel_versions"] if ":" not in name and name[:2] != "__")
            raise Invalid(f"{edit.pointer}: the state has no {channel!r} at this checkpoint, only {known or 'nothing'}")
        if channel in partial:
            raise Invalid(
                f"{edit.pointer}: {channel!r} is a DeltaChannel, whose value only the graph can put together. "
                "Fork without this edit, and update the state of the fork instead."
            )
        stored = await _read(connection, target, checkpoint, channel)
        try:
            value = replace(stored, list(edit.path[1:]), edit.value)
        except Invalid as error:
            raise Invalid(f"{edit.pointer}: {error}") from None
        await _store(connection, target, checkpoint, channel, value)
    text = await _seal_values(vault, target, checkpoint_id, checkpoint) if vault.seals else dump_json(checkpoint)
    await connection.execute(_SQL["store_checkpoint"], place | {"checkpoint": text})


async def _open_values(vault: Vault, target: UUID, checkpoint_id: str, checkpoint: JsonObject) -> None:
    """Put the values that were sealed apart back into the checkpoint. What is true there may mark a snapshot."""
    marks = {channel for channel, value in checkpoint["channel_values"].items() if value is True}
    key = str(target), "", checkpoint_id
    checkpoint["channel_values"] = await open_inline(vault, key, checkpoint, marks)
    checkpoint["marks"] = sorted(marks)


async def _seal_values(vault: Vault, target: UUID, checkpoint_id: str, checkpoint: JsonObject) -> str:
    marks = {channel for channel in checkpoint.pop("marks") if checkpoint["channel_values"].get(channel) is True}
    values = checkpoint["channel_values"]
    apart = dump_json({channel: value for channel, value in values.items() if channel not in marks})
    bare = dump_json({**checkpoint, "channel_values": dict.fromkeys(marks, True)})
    (sealed,) = await vault.seal_json([(checkpoint_place(str(target), "", checkpoint_id), apart)])
    return join_values(bare, sealed)


async def _read(connection: AsyncConnection[Any], target: UUID, checkpoint: JsonObject, channel: str) -> Any:
    parameters = {"target": target, "channel": channel, "version": checkpoint["channel_versions"][channel]}
    cursor = await connection.execute(_SQL["blob"], parameters)
    row = await cursor.fetchone()
    if row is None or row[0] == "empty":
        return checkpoint["channel_values"].get(channel)
    place = blob_place(str(target), "", channel, parameters["version"])
    ((kind, blob),) = await vault_of(connection).open_typed([(place, row[0], row[1])])
    return unpack(bytes(blob)) if kind == "msgpack" else read_blob(kind, blob)


async def _store(
    connection: AsyncConnection[Any], target: UUID, checkpoint: JsonObject, channel: str, value: Any
) -> None:
    versions = checkpoint["channel_versions"]
    newest = max(versions.values())
    version = ThreadSaver(connection).get_next_version(newest, None)
    for seen in checkpoint["versions_seen"].values():
        if seen.get(channel) == versions[channel]:
            seen[channel] = version
    versions[channel] = version
    inline, stored = split_channel_values({channel: value})
    checkpoint["channel_values"].pop(channel, None)
    checkpoint["channel_values"].update(inline)
    if stored:
        blob = pack(stored[channel])
        place = blob_place(str(target), "", channel, version)
        ((kind, sealed),) = await vault_of(connection).seal_typed([(place, "msgpack", blob)])
        parameters = {"target": target, "channel": channel, "version": version, "type": kind, "blob": sealed}
        await connection.execute(_SQL["store_blob"], parameters)
