"""Owns the comparison of two states: what would have to change in one to make it the other, as RFC 6902 says it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jsonpatch

from threadline.checkpoints.pool import Pool
from threadline.replay.snapshots import snapshot
from threadline.replay.steps import Step, find_namespace, read_step
from threadline.runs.errors import CheckpointNotFound, Invalid
from threadline.runs.metadata import refuse_unstorable
from threadline.runs.model import JsonObject


@dataclass(frozen=True, slots=True)
class Place:
    """A checkpoint as people name it: THREAD@CHECKPOINT, or THREAD for its latest."""

    thread_id: UUID
    checkpoint_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read THREAD or THREAD@CHECKPOINT. Raises Invalid."""
        refuse_unstorable(text, "a checkpoint's name")
        thread, _, checkpoint = text.partition("@")
        try:
            return cls(UUID(thread), checkpoint or None)
        except ValueError:
            raise Invalid(f"{text!r} names no checkpoint: write THREAD@CHECKPOINT, or THREAD for its latest") from None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two steps, and the patch that leads from the values of the first to those of the second."""

    a: Step
    b: Step
    patch: list[JsonObject]

    def view(self) -> JsonObject:
        """Return the comparison as JSON-able values."""
        return {"a": _view(self.a), "b": _view(self.b), "patch": self.patch}


async def compare(pool: Pool, a: Place, b: Place) -> Comparison:
    """Compare two checkpoints, of one thread or of two. Raises ThreadNotFound, CheckpointNotFound and Invalid."""
    async with snapshot(pool, a.thread_id, b.thread_id) as connection:
        first, second = [await _read(connection, place) for place in (a, b)]
    return Comparison(first, second, make_patch(first.values, second.values))


def make_patch(before: Any, after: Any) -> list[JsonObject]:
    """Return the operations that turn `before` into `after`; none when they are the same."""
    patch: list[JsonObject] = jsonpatch.make_patch(before, after).patch
    return patch


async def _read(connection: Any, place: Place) -> Step:
    if place.checkpoint_id is None:
        return await read_step(connection, place.thread_id)
    namespace = await find_namespace(connection, place.thread_id, place.checkpoint_id)
    if namespace is None:
        raise CheckpointNotFound(place.thread_id, place.checkpoint_id)
    return await read_step(connection, place.thread_id, place.checkpoint_id, namespace)


def _view(step: Step) -> JsonObject:
    return {
        "thread_id": step.thread_id,
        "checkpoint_id": step.checkpoint_id,
        "checkpoint_ns": step.checkpoint_ns,
        "step": step.metadata.get("step"),
        "source": step.metadata.get("source"),
        "run_id": step.run_id,
        "created_at": step.created_at,
        "partial": step.partial,
    }
