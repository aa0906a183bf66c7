"""Owns what a subscriber of the event-streaming protocol asks for: channels, namespaces and how deep below them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threadline.runs.errors import Invalid

CHANNELS = ("values", "updates", "messages", "tools", "custom", "lifecycle", "input", "checkpoints", "tasks")
CUSTOM = "custom"
MAX_CHANNELS = 100
MAX_NAMESPACES = 1000
MAX_SEQ = 2**53 - 1  # what every client can count to

Namespace = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """What one subscriber is sent. Without `namespaces`, `depth` counts from the root."""

    channels: frozenset[str]
    namespaces: tuple[Namespace, ...] = ()
    depth: int | None = None

    @property
    def wants_custom_names(self) -> bool:
        """Whether the name inside a custom event decides."""
        return CUSTOM not in self.channels and any(each.startswith("custom:") for each in self.channels)

    def accepts(self, channel: str, namespace: Sequence[str]) -> bool:
        """Whether an event of this channel, `custom:name` for a custom event with a name, is wanted."""
        wanted = channel in self.channels or (channel.startswith("custom:") and CUSTOM in self.channels)
        return wanted and self.reaches(namespace)

    def reaches(self, namespace: Sequence[str]) -> bool:
        """Whether events of this namespace are wanted at all."""
        for prefix in self.namespaces or ((),):
            if _begins(namespace, prefix) and (self.depth is None or len(namespace) - len(prefix) <= self.depth):
                return True
        return False


def read_filter(given: Mapping[str, Any]) -> Filter:
    """Return the filter that a client describes. Raises Invalid."""
    channels = given.get("channels")
    if not isinstance(channels, list) or not channels:
        raise Invalid("channels is required and must be a non-empty array")
    if unknown := [each for each in channels if not _is_channel(each)]:
        names = ", ".join(str(each)[:60] for each in unknown[:5])
        allowed = f"{', '.join(CHANNELS)}, or any `custom:<name>`"
        raise Invalid(f"channels contains unsupported entries: {names}. Allowed: {allowed}.")
    if len(channels) > MAX_CHANNELS:
        raise Invalid(f"channels must not have more than {MAX_CHANNELS} entries")
    depth = read_number(given, "depth")
    return Filter(frozenset(channels), _read_namespaces(given.get("namespaces")), depth)


def read_number(given: Mapping[str, Any], name: str) -> int | None:
    """Return the number that a client gives under `name`, if it does. Raises Invalid."""
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEQ:
        raise Invalid(f"{name} must be a non-negative integer")
    return value


def read_namespace(value: Any, name: str = "namespace") -> Namespace:
    """Return the namespace that a client gives, the root when it gives none. Raises Invalid."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Invalid(f"{name} must be an array of strings")
    return tuple(value)


def _read_namespaces(value: Any) -> tuple[Namespace, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Invalid("namespaces must be an array of arrays of strings")
    if len(value) > MAX_NAMESPACES:
        raise Invalid(f"namespaces must not have more than {MAX_NAMESPACES} entries")
    return tuple(read_namespace(each, "each of namespaces") for each in value)


def _is_channel(value: Any) -> bool:
    return isinstance(value, str) and (value in CHANNELS or (value.startswith("custom:") and len(value) > 7))


def _begins(namespace: Sequence[str], prefix: Namespace) -> bool:
    """Whether `namespace` lies at or below `prefix`; a segment without a task's id stands for all of that name."""
    if len(prefix) > len(namespace):
        return False
    return all(
        given == segment or (":" not in segment and given.partition(":")[0] == segment)
        for segment, given in zip(prefix, namespace, strict=False)
    )
