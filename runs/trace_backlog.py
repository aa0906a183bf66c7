"""Owns what waits to be packed for LangSmith: how many bytes it is. Who may add to it is the client's business."""

from queue import PriorityQueue
from typing import Any

# What a beginning or end of a span is made of, each already JSON.
_PARTS = ("_none", "inputs", "outputs", "events", "extra", "error", "serialized")


class Backlog(PriorityQueue[Any]):
    """The LangSmith client's own queue, which also counts its `bytes`."""

    bytes: int

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.bytes = 0

    def _put(self, item: Any) -> None:
        # orjson leaves its texts in buffers of many times their length: what waits must not keep these.
        for name in _PARTS:
            if part := getattr(item.item, name, None):
                setattr(item.item, name, memoryview(part).tobytes())
        super()._put(item)
        self.bytes += _size(item)

    def _get(self) -> Any:
        item = super()._get()
        self.bytes -= _size(item)
        return item


def _size(item: Any) -> int:
    return sum(len(getattr(item.item, name, None) or b"") for name in _PARTS)
