"""Owns the LangSmith client of a process: what may leave it, how much it holds, and that it never waits.

Sending is the outbox's. Interrupts are no errors here, and metadata carries neither secrets nor the environment.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from threading import Lock
from typing import Any
from uuid import UUID

from langsmith import Client
from langsmith.schemas import LangSmithInfo

from threadline.checkpoints.secrets import hide, without_secrets
from threadline.runs.trace_backlog import Backlog
from threadline.runs.trace_outbox import Outbox, TraceCounts

MAX_BYTES = 32 * 1024 * 1024  # of spans that wait to be packed

# How LangGraph leaves a node: for a person's answer, a parent graph's command, a worker that stops.
_NO_ERROR = re.compile(r"(?:\w+\.)*(?:GraphInterrupt|NodeInterrupt|ParentCommand|GraphDrained)\(")
_ENVIRONMENT = ("LANGSMITH_", "LANGCHAIN_")
_ZSTD = "zstd_compression_enabled"


class TraceClient(Client):
    """A client that holds `max_items` beginnings and ends of spans, and MAX_BYTES; others are counted as dropped."""

    def __init__(
        self,
        outbox: Outbox,
        counts: TraceCounts,
        *,
        max_items: int,
        api_url: str,
        api_key: str,
        workspace_id: str | None,
        hide_inputs: bool,
        hide_outputs: bool,
    ) -> None:
        self._outbox = outbox
        self._counts = counts
        self._max_items = max_items
        self._puts = Lock()
        self._secrets: dict[UUID, Set[str]] = {}
        self._backlog: Backlog | None = None
        logging.getLogger("langsmith.client").addFilter(_says_something)
        super().__init__(
            api_url,
            api_key=api_key,
            workspace_id=workspace_id,
            session=outbox,
            hide_inputs=hide_inputs or None,
            hide_outputs=hide_outputs or None,
            hide_metadata=clean_metadata,
            # We decide, before there is anything to sample.
            tracing_sampling_rate=1.0,
            tracing_mode="langsmith",
            tracing_error_callback=self._note_failure,
        )
        if self._backlog is None:
            raise RuntimeError("the LangSmith client has no queue; this release of langsmith is not supported")

    @property
    def tracing_queue(self) -> Backlog | None:
        """What waits to be packed: ours, in the place of the one that the client makes before its threads start."""
        return self._backlog

    @tracing_queue.setter
    def tracing_queue(self, made: object) -> None:
        self._backlog = None if made is None else Backlog()  # bounded by us, who count

    @property
    def info(self) -> LangSmithInfo:
        """What the service can do. That it takes compressed requests is for the outbox, off the runs' path."""
        found = super().info
        flags = dict(found.instance_flags or {})
        self._outbox.has_zstd = bool(flags.pop(_ZSTD, False))
        return found.model_copy(update={"instance_flags": flags})

    @property
    def waiting_bytes(self) -> int:
        """How much waits to be packed."""
        return self._backlog.bytes if self._backlog else 0

    @contextmanager
    def keeping(self, run_id: UUID, secrets: Set[str]) -> Iterator[None]:
        """Keep the run's `secrets` out of the errors of spans for the length of the block."""
        self._secrets[run_id] = secrets
        try:
            yield
        finally:
            del self._secrets[run_id]

    def create_run(self, *args: Any, **kwargs: Any) -> None:
        """Take the beginning of a span, if there is room."""
        with self._puts:
            if self._has_room():
                super().create_run(*args, **kwargs)

    def update_run(self, run_id: Any, **kwargs: Any) -> None:
        """Take the end of a span, if there is room."""
        error = kwargs.get("error")
        if isinstance(error, str):
            secrets = frozenset[str]().union(*list(self._secrets.values()))
            kwargs["error"] = None if _NO_ERROR.match(error) else hide(error, secrets)
        with self._puts:
            if self._has_room():
                super().update_run(run_id, **kwargs)

    def _has_room(self) -> bool:
        waiting = self._backlog
        if waiting is None or (waiting.qsize() < self._max_items and waiting.bytes < MAX_BYTES):
            return True
        self._counts.dropped += 1
        return False

    def _note_failure(self, error: Exception) -> None:
        self._counts.dropped += 1


def clean_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a span may carry of its metadata."""
    return {key: value for key, value in without_secrets(metadata).items() if not key.startswith(_ENVIRONMENT)}


def _says_something(record: logging.LogRecord) -> bool:
    """Leave out the client's advice to update the service: it is ours that it does not compress."""
    return not record.getMessage().startswith("Run compression is not enabled")
