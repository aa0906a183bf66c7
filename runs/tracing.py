"""Owns whether and how a run is traced: the sample, the trace's root, its project, its parent and its metadata.

What leaves the process is the client's, how it leaves the outbox's business. Made in the process that executes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.langchain import LangChainTracer
from langsmith.run_helpers import tracing_context
from langsmith.run_trees import RunTree, configure

from threadline.runs.feedback import Feedback, Report
from threadline.runs.model import JsonObject, Run
from threadline.runs.secrets import secrets_of
from threadline.runs.trace_client import TraceClient
from threadline.runs.trace_outbox import Outbox, TraceCounts
from threadline.runs.trace_parent import TRACE
from threadline.runs.trace_spool import Spool
from threadline.settings import TracingSettings

logger = logging.getLogger("threadline.tracing")

LEAST_FLUSH = 0.5  # seconds for packing what waits, however short the time for sending it
HOSTED = "https://api.smith.langchain.com"


@dataclass(frozen=True, slots=True)
class Trace:
    """What a run's trace asks of the call: callbacks to add."""

    callbacks: tuple[BaseCallbackHandler, ...] = ()


class Tracing:
    """The traces of one process. Without a key, or switched off, runs are called as if there were no LangSmith."""

    def __init__(self, settings: TracingSettings, spool: Path) -> None:
        """`spool` is the folder for what cannot be sent."""
        self.counts = TraceCounts()
        self.takes_parents = settings.accept_parents
        self._settings = settings
        self._client: TraceClient | None = None
        self._outbox: Outbox | None = None
        self._feedback = Feedback(endpoint_of(settings), credentials(settings))
        # Whatever the environment says: what is called outside of a run's trace would reach a client of its own.
        configure(enabled=False)
        if not settings.enabled:
            return
        if settings.api_key is None:
            logger.warning("tracing.no_key", extra={"missing": "LANGSMITH_API_KEY"})
            return
        self._outbox = Outbox(Spool(spool, settings.spool_megabytes * 1024 * 1024), self.counts)
        self._client = TraceClient(
            self._outbox,
            self.counts,
            max_items=settings.queue_size,
            api_url=endpoint_of(settings),
            api_key=settings.api_key.get_secret_value(),
            workspace_id=settings.workspace_id,
            hide_inputs=settings.hide_inputs,
            hide_outputs=settings.hide_outputs,
        )

    @property
    def is_on(self) -> bool:
        """Whether runs can be traced."""
        return self._client is not None

    def view(self) -> JsonObject:
        """Return the counts of this process and what waits, in bytes, as JSON-able values."""
        waiting = self._client.waiting_bytes if self._client else 0
        return {**asdict(self.counts), "waiting_bytes": waiting + (self._outbox.waiting_bytes if self._outbox else 0)}

    @asynccontextmanager
    async def trace(self, run: Run, version: str | None, report: Report) -> AsyncIterator[Trace]:
        """Trace what is called in the block as the run's, or see to it that it is not.

        The trace's root is whatever is called with the run's trace id. `version` is that of the graph. What can be
        told of a trace when the block is over goes to `report`, as an event's name and data.
        """
        if self._client is None:
            yield Trace()
        elif not is_sampled(run.run_id, self._settings.sampling_rate):
            self.counts.unsampled_runs += 1
            with tracing_context(enabled=False):
                yield Trace()
        else:
            wanted = run.kwargs.get("langsmith_tracer") or {}
            project = wanted.get("project_name") or self._settings.project
            tracer = LangChainTracer(
                example_id=wanted.get("example_id"),
                project_name=project,
                client=self._client,
                metadata={"graph_version": version} if version else None,
            )
            parent = self._parent(run, project, self._client)
            with (
                self._client.keeping(run.run_id, secrets_of(run)),
                tracing_context(enabled=True, client=self._client, project_name=project, parent=parent),
            ):
                async with self._feedback.offering(run, report):
                    yield Trace((tracer,))

    async def close(self) -> None:
        """Send for the time that is set what waits, and spool the rest. The environment's word counts again then."""
        if self._client is not None:
            await asyncio.to_thread(self._close, self._client)
            await self._feedback.close()
        configure(enabled=None)

    def _close(self, client: TraceClient) -> None:
        deadline = monotonic() + self._settings.flush.total_seconds()
        # It waits for the client's threads to hand over to the outbox, not for the network.
        client.flush(timeout=max(LEAST_FLUSH, deadline - monotonic()))
        if self._outbox is not None:
            self._outbox.finish(max(0.0, deadline - monotonic()))
        client.close(timeout=0)
        counts = self.counts
        facts = {"sent": counts.sent, "spooled": counts.spooled, "dropped": counts.dropped}
        logger.info("tracing.closed", extra=facts)

    def _parent(self, run: Run, project: str, client: TraceClient) -> RunTree | None:
        """The caller's span that the run belongs under. Checked when the run was accepted."""
        headers = run.kwargs.get("trace_parent") or {}
        if not self.takes_parents or TRACE not in headers:
            return None
        return RunTree.from_headers(headers, client=client, project_name=project)


def endpoint_of(settings: TracingSettings) -> str:
    """The address of LangSmith's API."""
    return (settings.endpoint or HOSTED).rstrip("/")


def credentials(settings: TracingSettings) -> dict[str, str]:
    """The headers that LangSmith knows us by."""
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return {"x-api-key": key} | ({"X-Tenant-Id": settings.workspace_id} if settings.workspace_id else {})


def is_sampled(run_id: UUID, rate: float) -> bool:
    """Tell whether the run is in the sample: the same answer in every process, for every attempt."""
    number = int.from_bytes(blake2b(run_id.bytes, digest_size=8).digest())
    return number < rate * 2**64
