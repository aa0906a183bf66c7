"""Owns the ids of runs and threads: UUIDs of version 7 (RFC 9562), whose order is the order of their making."""

from os import urandom
from threading import Lock
from time import time_ns
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_RANDOM_BITS = (1 << 62) - 1

_lock = Lock()
_last_tick = 0


def _next_tick() -> int:
    """Return the time in 1/4096 milliseconds since the epoch, or one more than the last when that is not later."""
    global _last_tick
    with _lock:
        _last_tick = max(time_ns() * 4096 // 1_000_000, _last_tick + 1)
        return _last_tick


def uuid7() -> UUID:
    """Return an id greater than all that this process made before, even when the clock stands or goes back.

    48 bits of milliseconds, 12 bits of a millisecond's fraction (RFC 9562, 6.2, method 3), 62 random bits.
    """
    milliseconds, fraction = divmod(_next_tick(), 4096)
    random = int.from_bytes(urandom(8), "big") & _RANDOM_BITS
    return UUID(int=(milliseconds & 0xFFFFFFFFFFFF) << 80 | fraction << 64 | _VERSION_AND_VARIANT | random)
