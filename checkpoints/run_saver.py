"""Owns the saver of a run: fenced, and committed together with the events that report what it saves."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence, Set
from contextlib import suppress
from inspect import signature
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
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

from threadline.checkpoints.arrivals import Arrivals
from threadline.checkpoints.buffer import BlobRow, CheckpointRow, Entry, FencedOut, RunBuffer
from threadline.checkpoints.clock import raise_checkpoint_floor
from threadline.checkpoints.held_events import HeldEvents
from threadline.checkpoints.rows import encode_checkpoint, encode_writes
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.secrets import hide

T = TypeVar("T")

logger = logging.getLogger("threadline.saver")

AHEAD = 4  # checkpoints of a graph that may be uncommitted while it runs on
RETRY_SECONDS = 0.2  # between reads while the database is away
_NO_RESULTS = (ERROR, INTERRUPT, RESUME)
NO_TASK = "00000000-0000-0000-0000-000000000000"  # whose writes are the input's own


class RunSaver(ThreadSaver):
    """The saver of one run: what it writes is fenced, and is committed together with the events that report it.

    `fresh` says that the thread never had a checkpoint, which saves reading what cannot be there. `answered`
    says that an earlier attempt has used up the answer the run brought: it is not given to a second question.
    With `lags` what it saves is committed while the graph runs on: `aput` waits for the checkpoint `AHEAD` before.
    What the database refuses then shows in the next call, or in the end of the run (`last`). `secrets` are kept
    out of the errors of tasks.
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
        self.last: Entry | None = None  # what was saved last, to which the next is tied
        self._recent: dict[str, deque[Entry]] = {}  # the last checkpoints of each namespace
        self._floor: str | None = None
        self.held = HeldEvents(buffer)
        self._written: set[tuple[str, str]] = set()
        self._loaded: set[tuple[str, str]] = set()  # checkpoints of earlier runs that got no write of ours yet
        self._arrivals = Arrivals()
        self._namespaces: set[str] = set()
        self._results: set[str] = set()
        self._start: tuple[str | None, CheckpointTuple | None] | None = None  # read ahead, until the graph asks for it
        self.on_subgraph: Callable[[str, CheckpointTuple], None] = lambda ns, found: None
        self.on_writes: Callable[[str, str, bool], None] = lambda ns, task_id, taken: None
        self.on_checkpoint: Callable[[Entry, CheckpointRow], None] = lambda entry, row: None

    async def reached(self, ns: str, checkpoint_id: str) -> None:
        """Wait until that checkpoint is committed, so that whoever starts from it can be started from it again.

        LangGraph starts a run's first tasks without waiting for the checkpoint of its input. Raises what saving it
        raises.
        """
        key = (ns, checkpoint_id)
        if key not in self._written:
            await self._arrivals.expect(key)
        if self.last is not None:
            await self._buffer.committed(self.last)

    # What the recorder of the run's events asks and says.

    def saves(self, ns: str) -> bool:
        """Whether the graph at this namespace keeps checkpoints with us."""
        return ns in self._namespaces

    def has_written(self, ns: str, checkpoint_id: str) -> bool:
        """Whether that checkpoint was loaded or written already, so that nothing need wait for it."""
        return (ns, checkpoint_id) in self._written

    def has_result(self, task_id: str) -> bool:
        """Whether an earlier run or attempt left what this task returned, so that it is shown but not run again."""
        return task_id in self._results

    def _tell(self, error: Any) -> Any:
        shown = repr(error)
        hidden = hide(shown, self._secrets)
        return error if hidden == shown else RuntimeError(hidden)

    # What the run does before LangGraph.

    async def read_start(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that the graph will start from; its own reading of it then costs nothing."""
        self._start = None
        if self._fresh:
            return None
        found = await self.aget_tuple(config)
        self._start = (get_checkpoint_id(config), found)
        return found

    # What LangGraph calls.

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint; what it loads of this thread sets the floor that new checkpoint ids stay above."""
        configurable = config["configurable"]
        ns = configurable.get("checkpoint_ns", "")
        if str(configurable["thread_id"]) != self._thread_id:
            return await super().aget_tuple(config)
        seen = ns in self._namespaces
        self._namespaces.add(ns)
        addressed = get_checkpoint_id(config)
        if ns == "" and self._start is not None:
            (wanted, start), self._start = self._start, None
            if wanted == addressed:
                return start
        if self._fresh and not addressed and not (seen and any(key[0] == ns for key in self._written)):
            return None
        if self.last is not None:
            await self._buffer.committed(self.last)
        read = super().aget_tuple
        found = await patiently(lambda: read(config))
        if ns == "" and self._floor is None and not self._fresh:
            self._floor = await self._find_floor(found, addressed)
        if found is None:
            return None
        key = (ns, found.checkpoint["id"])
        if key not in self._written:
            self._written.add(key)
            self._loaded.add(key)
            self._results.update(task for task, channel, _ in found.pending_writes or () if channel not in _NO_RESULTS)
        if ns:
            self.on_subgraph(ns, found)
        return _without_answer(found) if self._answered else found

    async def _find_floor(self, found: CheckpointTuple | None, addressed: str | None) -> str:
        latest = found.checkpoint["id"] if found and not addressed else None
        if latest is None:
            latest = await patiently(lambda: self.latest_checkpoint_id(self._thread_id))
        if latest:
            raise_checkpoint_floor(latest)
        return latest or ""

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Read what a delta channel is rebuilt from."""
        read = super().aget_delta_channel_history
        return await patiently(lambda: read(config=config, channels=channels))

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
            self._tie(entry)
            self._buffer.add(entry)
        except Exception as error:  # whatever a value's own code raises belongs to the caller who awaits
            self.on_writes(ns, task_id, False)
            return _fail(error)
        self.on_writes(ns, task_id, True)
        if self._lags and not any(channel in WRITES_IDX_MAP for channel, _ in writes):
            return _taken()
        return self._buffer.committed(entry)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint together with the held events that report it.

        Raises FencedOut when the run has lost its thread, ValueError for an id below the thread's latest.
        """
        configurable = config["configurable"]
        if str(configurable["thread_id"]) != self._thread_id:
            return await super().aput(config, checkpoint, metadata, new_versions)
        ns = configurable.get("checkpoint_ns", "")
        self.held.mend(ns)
        try:
            if ns == "" and self._floor and checkpoint["id"] < self._floor:
                raise ValueError(f"checkpoint {checkpoint['id']} is older than the thread's latest, {self._floor}")
            row, blobs = encode_checkpoint(
                self.serde, config, checkpoint, metadata, new_versions, self.stamp, seals=self._vault.seals
            )
            recent = self._recent.setdefault(ns, deque(maxlen=AHEAD))
            if self._lags and len(recent) == AHEAD:
                await self._caught_up(recent[0], row, blobs)
            recent.append(entry := self._add_checkpoint(row, blobs))
            if not self._lags:
                await self._buffer.committed(entry)
        except BaseException as error:
            self.held.fail(ns)
            self._arrivals.announce((ns, checkpoint["id"]), error)
            raise
        return {"configurable": {"thread_id": self._thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint["id"]}}

    async def _caught_up(self, entry: Entry, row: CheckpointRow, blobs: list[BlobRow]) -> None:
        """Wait for an earlier checkpoint before this one is added."""
        try:
            await self._buffer.committed(entry)
        except asyncio.CancelledError:
            with suppress(FencedOut):  # a run that is stopped keeps the supersteps it has finished
                self._add_checkpoint(row, blobs)
            raise

    def _tie(self, entry: Entry) -> None:
        """None may follow one that was refused: it would build on what is not there."""
        entry.after = self.last
        self.last = entry

    def _add_checkpoint(self, row: CheckpointRow, blobs: list[BlobRow]) -> Entry:
        entry, later = self.held.take(row.ns, row.id)
        size = entry.size
        self.on_checkpoint(entry, row)
        entry.add_rows([row], blobs, [])
        self._tie(entry)
        if entry.ready:
            self._buffer.add(entry, before=later)
        else:
            self._buffer.release(entry, entry.size - size)
        self._written.add((row.ns, row.id))
        self._arrivals.announce((row.ns, row.id))
        return entry


# LangGraph asks for the parameters of `aput_writes` at the start of every run; this spares it working them out.
setattr(RunSaver.aput_writes, "__signature__", signature(RunSaver.aput_writes))  # noqa: B010  # mypy knows no such attribute


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, again and again while the database is away: a run in execution waits for it rather than fail."""
    while True:
        try:
            return await ask()
        except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
            logger.warning("saver.retry", extra={"error": repr(error)})
            await asyncio.sleep(RETRY_SECONDS)


def _without_answer(found: CheckpointTuple) -> CheckpointTuple:
    writes = [write for write in found.pending_writes or [] if not (write[0] == NO_TASK and write[1] == RESUME)]
    return found._replace(pending_writes=writes)


async def _fail(error: Exception) -> None:
    raise error


async def _taken() -> None:
    """What there is to wait for when nobody has to wait."""
