"""Owns the events that wait for the checkpoint they report: LangGraph emits them before it saves that."""

from collections import deque
from typing import NamedTuple

from threadline.checkpoints.buffer import Entry, RunBuffer
from threadline.checkpoints.clock import checkpoint_timestamp, newest_timestamp


class _Held(NamedTuple):
    """Events that wait for the first checkpoint whose id is younger than `floor`, a timestamp of such ids."""

    floor: int
    entry: Entry


class HeldEvents:
    """The entries of one run that its checkpoints release, for each namespace in their order."""

    def __init__(self, buffer: RunBuffer) -> None:
        self._buffer = buffer
        self._held: dict[str, deque[_Held]] = {}
        self._broken: set[str] = set()  # namespaces whose last checkpoint was not written: no other follows it

    def hold(self, ns: str) -> Entry:
        """Return an entry for events that report the next checkpoint LangGraph makes of `ns`; it waits for that.

        Checkpoints made before may still be on their way to the saver: their ids tell them apart.
        """
        return self._hold(ns, newest_timestamp())

    def hold_for(self, ns: str, checkpoint_id: str, parent_id: str | None) -> Entry:
        """Return the entry for events that report this checkpoint, which was made but has not been saved yet."""
        held = self._held.get(ns)
        if held and held[-1].floor >= _timestamp(parent_id):
            return held[-1].entry
        return self._hold(ns, _timestamp(checkpoint_id) - 1)

    def _hold(self, ns: str, floor: int) -> Entry:
        if ns in self._broken:
            return Entry()
        entry = self._buffer.add(Entry(ready=False))
        self._held.setdefault(ns, deque()).append(_Held(floor, entry))
        return entry

    def take(self, ns: str, checkpoint_id: str) -> tuple[Entry, Entry | None]:
        """Return the entry that waits for this checkpoint, or a new one and the next that waits for a later one."""
        held = self._held.setdefault(ns, deque())
        if held and held[0].floor < _timestamp(checkpoint_id):
            return held.popleft().entry, None
        return Entry(), held[0].entry if held else None

    def mend(self, ns: str) -> None:
        """Another checkpoint of the namespace has come to be saved."""
        self._broken.discard(ns)

    def fail(self, ns: str) -> None:
        """LangGraph saves one checkpoint after the other: behind one that failed, nothing is left to wait for."""
        self._broken.add(ns)
        held = self._held.get(ns)
        while held:
            self._buffer.drop_events(held.popleft().entry)

    def drop(self) -> None:
        """No more checkpoints will come: forget the events that were waiting for one that was never written."""
        for ns in self._held:
            self.fail(ns)


def _timestamp(checkpoint_id: str | None) -> int:
    """That of no checkpoint, or of one that another tool made, is older than any of ours."""
    try:
        return checkpoint_timestamp(checkpoint_id) if checkpoint_id else 0
    except ValueError:
        return 0
