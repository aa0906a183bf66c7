"""Owns the promise that checkpoint ids never go back, whatever the clock of this machine says.

Checkpoint ids are wall-clock UUIDv6 and the greatest is the latest: on a machine whose clock is behind, a
finished run's result would vanish behind its predecessor's. LangGraph keeps the last timestamp it used in a
private module variable; we raise it. The name is pinned with langgraph-checkpoint and covered by a test.
"""

from langgraph.checkpoint.base import id as checkpoint_ids


def checkpoint_timestamp(checkpoint_id: str) -> int:
    """Return the 60-bit timestamp of a UUIDv6, in units of 100 ns since 1582-10-15 (RFC 9562, 5.6).

    Raises ValueError for anything else: another version's bits would read as a time far in the future.
    """
    digits = checkpoint_id.replace("-", "")
    if len(digits) != 32 or digits[12] != "6" or not digits.isalnum():
        raise ValueError(f"{checkpoint_id} is not a UUID of version 6")
    number = int(digits, 16)
    return ((number >> 80) << 12) | ((number >> 64) & 0x0FFF)


def newest_timestamp() -> int:
    """Return the timestamp of the newest checkpoint id of this process; those to come are greater."""
    last: int | None = checkpoint_ids._last_v6_timestamp
    return last or 0


def raise_checkpoint_floor(checkpoint_id: str) -> None:
    """Make every checkpoint id this process mints from now on greater than `checkpoint_id`."""
    try:
        timestamp = checkpoint_timestamp(checkpoint_id)
    except ValueError:  # made by another tool, and then nothing of ours compares with it
        return
    if newest_timestamp() < timestamp:
        checkpoint_ids._last_v6_timestamp = timestamp  # type: ignore[assignment]  # declared None there
