"""Owns what a checkpoint says is to be done next, read without its graph, which may have gone.

The names of LangGraph's channels are its private ones, of the layout it writes since 1.0: pinned, and covered by
tests. What an older layout has pending is not seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

EDGE = "branch:to:"
_WAITING_EDGE = "join:"
SENDS = "__pregel_tasks"


def pending_nodes(checkpoint: Mapping[str, Any], sends: Sequence[Any] | None = None) -> tuple[str, ...]:
    """Return the nodes whose turn it is, each once.

    `sends` are those of the checkpoint, for a caller that has not read its values.
    """
    found = sends if sends is not None else checkpoint["channel_values"].get(SENDS) or ()
    sent = [send.node for send in found if hasattr(send, "node")]
    return tuple(dict.fromkeys([*_triggered(checkpoint), *sent]))


def pending_channels(checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the channels that make it some node's turn, now or once others have finished."""
    prefixes = (EDGE, _WAITING_EDGE)
    return tuple(name for name in checkpoint["channel_values"] if name.startswith(prefixes) or name == SENDS)


def _triggered(checkpoint: Mapping[str, Any]) -> Iterator[str]:
    versions, seen = checkpoint["channel_versions"], checkpoint["versions_seen"]
    for channel, value in checkpoint["channel_values"].items():
        node = _target(channel, value)
        if node is not None and versions.get(channel, "") != seen.get(node, {}).get(channel):
            yield node


def _target(channel: str, value: Any) -> str | None:
    """The node that the channel makes run; None for one that waits for more, or is none of an edge."""
    if channel.startswith(EDGE):
        return channel.removeprefix(EDGE)
    if not channel.startswith(_WAITING_EDGE):
        return None
    starts, _, node = channel.removeprefix(_WAITING_EDGE).rpartition(":")
    is_complete = isinstance(value, set | frozenset | list | tuple) and {*starts.split("+")} == {*value}
    return node if is_complete else None
