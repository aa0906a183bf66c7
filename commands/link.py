"""Owns what `serve` and its children say to each other: orders down, one report up, over a socket pair.

Either side learns from the end of the other's messages that it is gone, however it ended.
"""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from socket import socket
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Orders:
    """What a child is to do: the flags that `serve` was given, and what it has inherited.

    `conninfo` is the embedded server's; with None the settings name the database. `listener` is a descriptor.
    """

    listener: int
    flags: Mapping[str, str] = field(default_factory=dict)
    conninfo: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a child's start: its graphs, by name with what is wrong with them; or why it cannot start.

    `example` is an input for the first graph that works. A failure that is not `is_lasting` is the database's, not
    the child's.
    """

    graphs: Mapping[str, str | None] = field(default_factory=dict)
    example: Any = None
    failure: str | None = None
    is_lasting: bool = True

    @property
    def is_ready(self) -> bool:
        """Whether the child serves."""
        return self.failure is None


def encode_line(message: Orders | Report) -> bytes:
    """Return the message as it goes over the link."""
    return orjson.dumps(asdict(message), default=str) + b"\n"


def read_report(line: bytes) -> Report:
    """Read what `encode_line` wrote."""
    return Report(**orjson.loads(line))


class ParentLink:
    """A child's end of the link."""

    def __init__(self, descriptor: int) -> None:
        # Programs that a graph starts must not keep the link open.
        os.set_inheritable(descriptor, False)
        self._socket = socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")

    def read_orders(self) -> Orders:
        """Return the orders, of which there is one line. Raises EOFError when the parent is gone already."""
        line = self._lines.readline()
        if not line:
            raise EOFError("the parent is gone")
        orders = Orders(**orjson.loads(line))
        os.set_inheritable(orders.listener, False)
        return orders

    def report(self, report: Report) -> None:
        """Tell the parent; one that is gone need not know."""
        try:
            self._socket.sendall(encode_line(report))
        except OSError:
            return

    def watch(self, on_orphaned: Callable[[], None]) -> None:
        """Call `on_orphaned` from a thread when the parent is gone: the event loop may be busy with a graph's code."""

        def wait() -> None:
            self._lines.read()
            on_orphaned()

        threading.Thread(target=wait, name="parent-watch", daemon=True).start()
