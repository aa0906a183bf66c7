"""Owns the saver of a run: fenced, and committed together with the events that report what it saves."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME
from psycopg import InterfaceError, OperationalError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from threadline.checkpoints.buffer import BlobRow, CheckpointRow, Entry, FencedOut, RunBuffer
from threadline.checkpoints.clock import checkpoint_timestamp, newest_timestamp, raise_checkpoint_floor
from threadline.checkpoints.rows import encode_checkpoint, encode_writes
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.secrets import hide

T = TypeVar("T")

logger = logging.getLogger("threadline.saver")

RETRY_SECONDS = 0.2  # between reads while the database is away
_NO_RESULTS = (ERROR, INTERRUPT, RESUME)
NO_TASK = "00000000-0000-0000-0000-000000000000"  # whose writes are the input's own


class _Held(NamedTuple):
    """Events that wait for the first checkpoint whose id is younger than `floor`, a timestamp of such ids."""

    floor: int
    entry: Entry


class RunSaver(ThreadSaver):
    """The saver of one run: what it writes is fenced, and is committed together with the events that report it.

    `fresh` says that the thread never had a checkpoint, which saves reading what cannot be there. `answered`
    says that an earlier attempt has used up the answer the run brought: it is not given to a second question.
    With `lags` a checkpoint is committed while the next superstep runs: `aput` returns when the one before is
    committed, and `settled` waits for the last. `secrets` are kept out of the errors of tasks.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        buffer: RunBuffer,
        *,
        fresh: bool,
        answered: bool = False,
        lags: bool = False,
        serde: SerializerProtocol | None = None,
        pooler: bool = False,
        secrets: Set[str] = frozenset(),
    ) -> None:
        super().__init__(pool, serde=serde, pooler=pooler)
        self._answered = answered
        self._secrets = secrets
        self._buffer = buffer
        self._thread_id = str(buffer.fence.thread_id)
        self._fresh = fresh
        self._lags = lags
        self._last: dict[str, Entry] = {}  # checkpoint of each namespace
        self._floor: str | None = None
        self._held: dict[str, deque[_Held]] = {}
        self._broken: set[str] = set()  # namespaces whose last checkpoint was not written: no other follows it
        self._written: set[tuple[str, str]] = set()
        self._loaded: set[tuple[str, str]] = set()  # checkpoints of earlier runs that got no write of ours yet
        self._namespaces: set[str] = set()
        self._results: set[str] = set()
        self.on_writes: Callable[[str, str, bool], None] = lambda ns, task_id, taken: None
        self.on_checkpoint: Callable[[Entry, CheckpointRow], None] = lambda entry, row: None

    # What the recorder of the run's events asks and says.

    def saves(self, ns: str) -> bool:
        """Whether the graph at this namespace keeps checkpoints with us."""
        return ns in self._namespaces

    def hold(self, ns: str) -> Entry:
        """Return an entry for events that report the next checkpoint LangGraph makes of `ns`; it waits for that.

        Checkpoints made before may still be on their way to `aput`: their ids tell them apart.
        """
        return self._hold(ns, newest_timestamp())

    def hold_for(self, ns: str, checkpoint_id: str, parent_id: str | None) -> Entry:
        """Return the entry for events that report this checkpoint, which was made but has not come to `aput` yet."""
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

    def _break(self, ns: str) -> None:
        """LangGraph saves one checkpoint after the other: behind one that failed, nothing is left to wait for."""
        self._broken.add(ns)
        held = self._held.get(ns)
        while held:
            self._buffer.drop_events(held.popleft().entry)

    def _take_held(self, ns: str, checkpoint_id: str) -> tuple[Entry, Entry | None]:
        """Return the entry that waits for this checkpoint, or a new one and the next that waits for a later one."""
        held = self._held.setdefault(ns, deque())
        if held and held[0].floor < _timestamp(checkpoint_id):
            return held.popleft().entry, None
        return Entry(), held[0].entry if held else None

    def has_written(self, ns: str, checkpoint_id: str) -> bool:
        """Whether that checkpoint was loaded or written already, so that nothing need wait for it."""
        return (ns, checkpoint_id) in self._written

    def has_result(self, task_id: str) -> bool:
        """Whether an earlier run or attempt left what this task returned, so that it is shown but not run again."""
        return task_id in self._results

    def drop_held(self) -> None:
        """No more checkpoints will come: forget the events that were waiting for one that was never written."""
        for ns in self._held:
            self._break(ns)

    async def settled(self) -> None:
        """Wait until the last checkpoints are committed. Raises what `aput` does."""
        for entry in self._last.values():
            await self._buffer.committed(entry)

    def _tell(self, error: Any) -> Any:
        shown = repr(error)
        hidden = hide(shown, self._secrets)
        return error if hidden == shown else RuntimeError(hidden)

    # What LangGraph calls.

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint; what it loads of this thread sets the floor that new checkpoint ids stay above."""
        configurable = config["configurable"]
        ns = configurable.get("checkpoint_ns", "")
        if str(configurable["thread_id"]) != self._thread_id:
            return await super().aget_tuple(config)
        if ns in self._last:
            await self._buffer.committed(self._last[ns])
        seen = ns in self._held
        self._namespaces.add(ns)
        self._held.setdefault(ns, deque())
        addressed = get_checkpoint_id(config)
        if self._fresh and not addressed and not (seen and any(key[0] == ns for key in self._written)):
            return None
        read = super().aget_tuple
        found = await _read_patiently(lambda: read(config))
        if ns == "" and self._floor is None and not self._fresh:
            self._floor = await self._find_floor(found, addressed)
        if found is None:
            return None
        key = (ns, found.checkpoint["id"])
        if key not in self._written:
            self._written.add(key)
            self._loaded.add(key)
            self._results.update(task for task, channel, _ in found.pending_writes or () if channel not in _NO_RESULTS)
        return _without_answer(found) if self._answered else found

    async def _find_floor(self, found: CheckpointTuple | None, addressed: str | None) -> str:
        latest = found.checkpoint["id"] if found and not addressed else None
        if latest is None:
            latest = await _read_patiently(lambda: self.latest_checkpoint_id(self._thread_id))
        if latest:
            raise_checkpoint_floor(latest)
        return latest or ""

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Read what a delta channel is rebuilt from."""
        read = super().aget_delta_channel_history
        return await _read_patiently(lambda: read(config=config, channels=channels))

    def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> Coroutine[Any, Any, None]:
        """Take the writes at the call, not when the result is awaited.

        LangGraph submits this call and emits the events that report the writes right after it, in one go;
        taken here, rows and events lie in one entry and are committed together.
        """
        configurable = config["configurable"]
        if str(configurable["thread_id"]) != self._thread_id:
            return super().aput_writes(config, writes, task_id, task_path)
        ns = configurable.get("checkpoint_ns", "")
        try:
            entry = Entry()
            if self._secrets:
                writes = [(channel, self._tell(value) if channel == ERROR else value) for channel, value in writes]
            entry.add_rows([], [], encode_writes(self.serde, config, writes, task_id, task_path))
            base = (ns, configurable["checkpoint_id"])
            if base in self._loaded:
                self._loaded.discard(base)
                entry.bases.append(base)
            self._buffer.add(entry)
        except Exception as error:  # whatever a value's own code raises belongs to the caller who awaits
            self.on_writes(ns, task_id, False)
            return _fail(error)
        self.on_writes(ns, task_id, True)
        return self._buffer.committed(entry)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint together with the held events that report it; returns when it, or the last, is committed.

        Raises FencedOut when the run has lost its thread, ValueError for an id below the thread's latest.
        """
        configurable = config["configurable"]
        if str(configurable["thread_id"]) != self._thread_id:
            return await super().aput(config, checkpoint, metadata, new_versions)
        ns = configurable.get("checkpoint_ns", "")
        self._broken.discard(ns)
        try:
            if ns == "" and self._floor and checkpoint["id"] < self._floor:
                raise ValueError(f"checkpoint {checkpoint['id']} is older than the thread's latest, {self._floor}")
            row, blobs = encode_checkpoint(self.serde, config, checkpoint, metadata, new_versions)
            if self._lags and ns in self._last:
                await self._last_committed(row, blobs)
            entry = self._last[ns] = self._add_checkpoint(row, blobs)
            if not self._lags:
                await self._buffer.committed(entry)
        except BaseException:
            self._break(ns)
            raise
        return {"configurable": {"thread_id": self._thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint["id"]}}

    async def _last_committed(self, row: CheckpointRow, blobs: list[BlobRow]) -> None:
        """Wait for the checkpoint before this one; behind one that was refused none may follow."""
        try:
            await self._buffer.committed(self._last[row.ns])
        except asyncio.CancelledError:
            with suppress(FencedOut):  # a run that is stopped keeps the supersteps it has finished
                self._add_checkpoint(row, blobs)
            raise

    def _add_checkpoint(self, row: CheckpointRow, blobs: list[BlobRow]) -> Entry:
        entry, later = self._take_held(row.ns, row.id)
        size = entry.size
        self.on_checkpoint(entry, row)
        entry.add_rows([row], blobs, [])
        if entry.ready:
            self._buffer.add(entry, before=later)
        else:
            self._buffer.release(entry, entry.size - size)
        self._written.add((row.ns, row.id))
        return entry


async def _read_patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read, again and again while the database is away: a run in execution waits for it rather than fail."""
    while True:
        try:
            return await read()
        except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
            logger.warning("saver.retry", extra={"error": repr(error)})
            await asyncio.sleep(RETRY_SECONDS)


def _timestamp(checkpoint_id: str | None) -> int:
    """That of no checkpoint, or of one that another tool made, is older than any of ours."""
    try:
        return checkpoint_timestamp(checkpoint_id) if checkpoint_id else 0
    except ValueError:
        return 0


def _without_answer(found: CheckpointTuple) -> CheckpointTuple:
    writes = [write for write in found.pending_writes or [] if not (write[0] == NO_TASK and write[1] == RESUME)]
    return found._replace(pending_writes=writes)


async def _fail(error: Exception) -> None:
    raise error
