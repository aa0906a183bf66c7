"""Owns how checkpoints and writes become rows of LangGraph's tables, in the official saver's own format."""

import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    EXCLUDED_METADATA_KEYS,
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from threadline.checkpoints.buffer import BlobRow, CheckpointRow, WriteRow
from threadline.checkpoints.secrets import is_secret

_NEVER_SHOWN = frozenset({*EXCLUDED_METADATA_KEYS, "writes"})


def encode_checkpoint(
    serde: SerializerProtocol,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
    stamp: Mapping[str, str] = MappingProxyType({}),
    *,
    seals: bool = False,
) -> tuple[CheckpointRow, list[BlobRow]]:
    """Return the checkpoint's row and the rows of its values that are new.

    `stamp` is added to the metadata. With `seals` the values that lie in the checkpoint's JSON are apart from it, to be
    sealed; what stays says only which values are snapshots. Raises TypeError, or whatever the value's own code raises,
    for a value without a msgpack form.
    """
    configurable = config["configurable"]
    ns = configurable.get("checkpoint_ns", "")
    inline, stored = split_channel_values(checkpoint["channel_values"])
    blobs = [
        BlobRow(ns, channel, str(version), *serde.dumps_typed(stored[channel]))
        for channel, version in new_versions.items()
        if channel in stored
    ]
    apart = None
    if seals:
        apart = dump_json({channel: value for channel, value in inline.items() if channel not in stored})
        inline = {channel: value for channel, value in inline.items() if channel in stored}
    row = CheckpointRow(
        ns,
        checkpoint["id"],
        configurable.get("checkpoint_id"),
        dump_json({**checkpoint, "channel_values": inline}),
        dump_json({**_shown_metadata(config, metadata), **stamp}),
        apart,
    )
    return row, blobs


def _shown_metadata(config: RunnableConfig, metadata: CheckpointMetadata) -> dict[str, Any]:
    """Return the metadata as `get_serializable_checkpoint_metadata` makes it, but without secrets of the config.

    Five times in a short run: one pass instead of the official two and a third for the secrets.
    """
    shown = {
        key: value.replace("\0", "") if isinstance(value, str) else value
        for key, value in metadata.items()
        if key != "writes"
    }
    for entries in (config.get("metadata"), config["configurable"]):
        for key, value in (entries or {}).items():
            if key in shown or key in _NEVER_SHOWN or key.startswith("__"):
                continue
            if isinstance(value, str):
                if not is_secret(key, value):
                    shown[key] = value.replace("\0", "")
            elif isinstance(value, int | float) and not is_secret(key, value):
                shown[key] = value
    return shown


def encode_writes(
    serde: SerializerProtocol,
    config: RunnableConfig,
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    task_path: str,
) -> list[WriteRow]:
    """Return the rows of one task's writes; same errors as `encode_checkpoint`."""
    overwrite = all(channel in WRITES_IDX_MAP for channel, _ in writes)
    ns, checkpoint_id = config["configurable"].get("checkpoint_ns", ""), config["configurable"]["checkpoint_id"]
    rows = []
    for position, (channel, value) in enumerate(writes):
        idx = WRITES_IDX_MAP.get(channel, position)
        kind, blob = serde.dumps_typed(value)
        rows.append(WriteRow(ns, checkpoint_id, task_id, task_path, idx, channel, kind, blob, overwrite))
    return rows


def split_channel_values(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values that lie in the checkpoint's JSON and those that become blobs.

    The official saver's rule, except that what `jsonb` cannot hold (U+0000, lone surrogates, NaN) becomes a blob.
    """
    inline: dict[str, Any] = {}
    stored: dict[str, Any] = {}
    for channel, value in values.items():
        if isinstance(value, _DeltaSnapshot):
            inline[channel], stored[channel] = True, value
        elif (
            value is None
            or isinstance(value, bool | int)
            or (isinstance(value, str) and _fits_jsonb(value))
            or (isinstance(value, float) and math.isfinite(value))
        ):
            inline[channel] = value
        else:
            stored[channel] = value
    return inline, stored


def _fits_jsonb(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def dump_json(value: Any) -> str:
    """Return JSON text that `jsonb` accepts: no lone surrogates, integers of any size."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
