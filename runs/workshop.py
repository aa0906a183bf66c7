"""Owns the list of what executing runs needs; what each part does is its own module's business."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from langgraph.store.base import BaseStore

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.writer import GroupWriter
from threadline.graphs.registry import Registry
from threadline.runs.endings import Endings
from threadline.runs.serializers import Serializers
from threadline.runs.tracing import Tracing
from threadline.runs.versions import Versions


@dataclass(frozen=True, slots=True)
class Workshop:
    """What executing runs needs, the same for all runs of a process; `worker` is what people call that process."""

    process_id: UUID
    worker: str
    registry: Registry
    pool: Pool
    pooler: bool
    writer: GroupWriter
    store: BaseStore
    serializers: Serializers
    endings: Endings
    tracing: Tracing
    versions: Versions
    run_timeout: timedelta
