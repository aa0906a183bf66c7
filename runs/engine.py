"""Owns how the parts become a running process: started top-down as nested blocks, stopped bottom-up.

What the process is for, and what happens when it fails, is decided by whoever opens the engine.
"""

import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore
from psycopg import AsyncConnection

from threadline.checkpoints.item_vectors import prepare_vectors
from threadline.checkpoints.keys import check_database
from threadline.checkpoints.pool import Database, Pool, open_pool
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.writer import Committed, GroupWriter
from threadline.graphs.registry import Registry
from threadline.keeping import KeepSettings
from threadline.runs.admission import Admission
from threadline.runs.assistants import Assistants
from threadline.runs.background import run_tasks, watch
from threadline.runs.blueprints import Blueprints
from threadline.runs.crons import Crons
from threadline.runs.endings import Endings
from threadline.runs.heads import Placed
from threadline.runs.hints import Hint, Hints
from threadline.runs.hosts import process_name
from threadline.runs.idempotency import Keys
from threadline.runs.item_store import ItemSettings, ItemStore
from threadline.runs.items import Items
from threadline.runs.lease import hold_lease
from threadline.runs.model import LogRow
from threadline.runs.queue import Queue
from threadline.runs.retention import Retention, ThreadLifetimes, make_retention
from threadline.runs.scheduler import Scheduler
from threadline.runs.serializers import Serializers
from threadline.runs.signatures import Signer
from threadline.runs.states import States
from threadline.runs.sweep import Keeping, Sweep
from threadline.runs.tails import Tails
from threadline.runs.takeover import Takeover
from threadline.runs.threads import Threads
from threadline.runs.tracing import Tracing
from threadline.runs.versions import Versions
from threadline.runs.webhook_policy import WebhookPolicy
from threadline.runs.webhooks import Webhooks, make_webhooks
from threadline.runs.worker import Worker, WorkerLimits
from threadline.runs.workshop import Workshop
from threadline.settings import TracingSettings

logger = logging.getLogger("threadline.engine")


class EngineFailed(Exception):
    """A background task of the engine died, which must not look like an orderly stop."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a process takes part. With `executes` false it accepts runs and serves streams only."""

    executes: bool
    concurrency: int
    lease: timedelta
    lease_renew: timedelta
    poll: timedelta
    run_timeout: timedelta
    drain: timedelta
    max_attempts: int
    max_pending_runs: int
    tracing: TracingSettings = field(default_factory=TracingSettings)
    trace_spool: Path = Path(".threadline/traces")  # folder for traces that could not be sent
    webhooks: WebhookPolicy = field(default_factory=WebhookPolicy)
    signer: Signer = field(default_factory=Signer)
    keeping: Keeping = field(default_factory=Keeping)
    lifetimes: ThreadLifetimes = field(default_factory=ThreadLifetimes)
    items: ItemSettings = field(default_factory=ItemSettings)
    keep: KeepSettings = field(default_factory=KeepSettings)


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts that the API is handed."""

    process_id: UUID
    registry: Registry
    pool: Pool
    store: BaseStore
    assistants: Assistants
    threads: Threads
    states: States
    queue: Queue
    tails: Tails
    tracing: Tracing
    webhooks: Webhooks
    crons: Crons
    blueprints: Blueprints
    retention: Retention
    items: Items
    worker: Worker
    keys: Keys


@asynccontextmanager
async def open_engine(database: Database, registry: Registry, settings: EngineSettings) -> AsyncIterator[Engine]:
    """Run a process of this database for the length of the block.

    On the way out runs in execution are finished or handed back, what is pending is committed, and the lease
    ends. Raises MigrationError when the schema is not up to date, VaultError when keys are missing, psycopg.Error when
    the database is away, and at the end EngineFailed when a part died; the process was sent SIGTERM then.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(database, "pool"))
        await check_database(pool)
        if settings.items.index is not None:
            await prepare_vectors(database, settings.items.index)
        parts = _Parts(database, registry, settings, pool)
        stack.push_async_callback(parts.tracing.close)
        await parts.assistants.sync_system()
        await parts.retention.set_default()
        lease = hold_lease(database, pool, parts.process_id, process_name(), settings.lease, settings.lease_renew)
        tasks = [await stack.enter_async_context(lease)]
        tasks += await stack.enter_async_context(parts.writer.running())
        tasks.append(await stack.enter_async_context(parts.admission.running()))
        tasks += await stack.enter_async_context(run_tasks(parts.background()))
        stack.push_async_callback(parts.store.close)
        failures: list[BaseException] = []
        stack.push_async_callback(parts.worker.stop)
        await stack.enter_async_context(parts.versions.registered())
        stack.enter_context(watch(tasks, failures))
        yield parts.engine()
        if failures:
            raise EngineFailed("a part of the process died; see the log") from failures[0]


class _Parts:
    """The parts of a process, made but not started, and the calls between them."""

    def __init__(self, database: Database, registry: Registry, settings: EngineSettings, pool: Pool) -> None:
        self.process_id = uuid4()
        self._settings = settings
        self._pool = pool
        self._registry = registry
        self._pooler = database.pooler
        self._serializers = Serializers(registry)
        self.store = ItemStore(pool, settings.items, pooler=database.pooler)
        self.tracing = Tracing(settings.tracing, settings.trace_spool)
        self.tails = Tails(pool, settings.poll)
        self.hints = Hints(database, self.process_id, self._take_hint, self._look_at_everything)
        self.writer = GroupWriter(database, self._take_commits, linger=settings.keep.stateless)
        self.assistants = Assistants(pool, registry)
        self.threads = Threads(pool, self._announce)
        self.versions = Versions(pool, registry, self.process_id, executes=settings.executes)
        self.retention = make_retention(pool, settings.lifetimes, settings.keep, self._announce)
        self._endings = Endings(pool, registry, self._serializers, self._announce, settings.keep.stateless)
        self.worker = self._make_worker()
        self._takeover = self._make_takeover()
        executor = self.worker if settings.executes else None
        self.admission = Admission(database, self.process_id, executor, lambda row: self.tails.publish([row]))
        self.webhooks = make_webhooks(pool, settings.webhooks, settings.signer, settings.poll)
        parts = (pool, self.admission, self.hints, self.tails, self.versions)
        self.queue = Queue(*parts, max_pending=settings.max_pending_runs, webhook_policy=settings.webhooks)
        self.scheduler = Scheduler(pool, self.assistants, settings.poll, self.queue.check_limit, self._take_fired)
        self.queue.on_pending, self.queue.on_cancel = self.worker.wake, self.worker.look_for_cancels

    def _make_worker(self) -> Worker:
        settings = self._settings
        workshop = Workshop(
            process_id=self.process_id,
            worker=process_name(),
            registry=self._registry,
            pool=self._pool,
            pooler=self._pooler,
            writer=self.writer,
            store=self.store,
            serializers=self._serializers,
            endings=self._endings,
            tracing=self.tracing,
            versions=self.versions,
            run_timeout=settings.run_timeout,
        )
        limits = WorkerLimits(settings.concurrency, settings.poll, settings.drain)
        return Worker(self.process_id, self._pool, workshop, limits, self._take_claims)

    def engine(self) -> Engine:
        states = States(self._pool, self._registry, self._open_saver, self._announce_later, self.store)
        return Engine(
            self.process_id,
            self._registry,
            self._pool,
            self.store,
            self.assistants,
            self.threads,
            states,
            self.queue,
            self.tails,
            self.tracing,
            self.webhooks,
            Crons(self._pool, self._announce_crons),
            Blueprints(self._registry, self.store),
            self.retention,
            Items(self.store),
            self.worker,
            Keys(self._pool),
        )

    def background(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs beside the requests, by name."""
        work = {"tails": self.tails.run(), "hints/tell": self.hints.tell(), "hints/listen": self.hints.listen()}
        work["webhooks"] = self.webhooks.deliver_for_ever()
        if self._settings.executes:
            work["worker/claim"] = self.worker.claim_for_ever()
            work["worker/cancel"] = self.worker.cancel_for_ever()
            work["takeover"] = self._takeover.watch_for_ever()
            work["scheduler"] = self.scheduler.fire_for_ever()
            work["sweep"] = Sweep(self._pool, self._settings.keeping, self.retention.expiry).sweep_for_ever()
            work["retention"] = self.retention.sweep_for_ever()
            work["items"] = self.store.sweep_for_ever()
        return work

    def _make_takeover(self) -> Takeover:
        return Takeover(
            process_id=self.process_id,
            pool=self._pool,
            endings=self._endings,
            hints=self.hints,
            lease=self._settings.lease,
            poll=self._settings.poll,
            max_attempts=self._settings.max_attempts,
            on_released=self.worker.wake,
        )

    def _open_saver(self, connections: Pool | AsyncConnection[Any], graph_id: str) -> BaseCheckpointSaver[Any]:
        serde, stamp = self._serializers.of(graph_id), self._registry.stamp(graph_id)
        return ThreadSaver(connections, serde=serde, pooler=self._pooler, stamp=stamp)

    # What one part has to tell the others.

    def _take_commits(self, commits: list[Committed]) -> None:
        rows = [
            LogRow(c.thread_id, c.first_seq, c.last_seq, c.run_id, c.contents, c.payload)
            for c in commits
            if c.payload is not None and c.contents
        ]
        self.tails.publish(rows)
        self.tails.hint([c.thread_id for c in commits if c.payload is None])
        waiting = any(c.finished and c.inflight for c in commits)
        if waiting:
            self.worker.wake()
        self.hints.announce(threads=[c.thread_id for c in commits if c.contents], queue=waiting)

    def _take_claims(self, rows: list[LogRow]) -> None:
        self.tails.publish(rows)
        self.hints.announce(threads=[row.thread_id for row in rows])

    def _announce(self, thread_id: UUID) -> None:
        """Somebody else than a run changed the thread, or removed it."""
        self.tails.hint([thread_id])
        self.hints.announce(threads=[thread_id], cancels=[thread_id], queue=True)
        self.worker.wake()
        self.worker.look_for_cancels()

    async def _announce_later(self, thread_id: UUID) -> None:
        self._announce(thread_id)

    def _announce_crons(self) -> None:
        self.scheduler.wake()
        self.hints.announce(crons=True)

    def _take_fired(self, placed: Placed) -> None:
        """A cron made a run, and may have asked another one to make place for it."""
        if placed.superseded is None:
            self.hints.announce(queue=True)
            self.worker.wake()
        else:
            self._announce(placed.run.thread_id)

    def _take_hint(self, hint: Hint) -> None:
        self.tails.hint(hint.threads)
        if hint.cancels:
            self.worker.look_for_cancels()
        if hint.queue:
            self.worker.wake()
        if hint.crons:
            self.scheduler.wake()
        if hint.death:
            self._takeover.wake()

    def _look_at_everything(self) -> None:
        self.tails.look_at_everything()
        self.worker.wake()
        self.scheduler.wake()
        self.worker.look_for_cancels()
