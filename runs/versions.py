"""Owns which versions of graphs the processes of a database execute, and the refusal of runs on pinned threads.

What a run does when it meets another version is `resumption`'s, what a version is `graphs.versions`'.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Error
from psycopg.rows import class_row
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.graphs.configuration import OnVersionChange
from threadline.graphs.registry import Registry
from threadline.graphs.versions import Topology, Version, differences
from threadline.runs.encoding import encode
from threadline.runs.errors import VersionPinned
from threadline.runs.model import RunRequest

_SQL = load_statements("threadline.runs", "versions.sql")
SHOWN = 8  # differences in an error

# An escape that `jsonb` refuses, U+0000 or half of a surrogate pair, unless its backslash is itself escaped.
_REFUSED = re.compile(r"(?<!\\)((?:\\\\)*)\\u(?:0000|d[89a-f][0-9a-f]{2})", re.IGNORECASE)


class Known(NamedTuple):
    """A version that some process had: is it newer than the one here, and does a living process still execute it."""

    topology: Topology
    is_newer: bool
    is_served: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a graph since a checkpoint was made; `gone` are nodes whose turn it would be."""

    topology_hash: str | None
    version: Version
    gone: tuple[str, ...] = ()
    known: Known | None = None

    @property
    def differences(self) -> tuple[str, ...]:
        """What differs, in words; as far as anybody still knows the other version."""
        if self.known is None:
            return tuple(f"node {name} is gone" for name in self.gone)
        return tuple(differences(self.known.topology, self.version.topology))

    def __str__(self) -> str:
        told = self.differences
        more = f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
        here = f"this is version {self.version.topology_hash}"
        there = f"was left by version {self.topology_hash or 'unknown'} of graph '{self.version.graph_id}'"
        return f"{there}, and {here}: {'; '.join(islice(told, SHOWN)) or 'what differs is not known'}{more}"


class Versions:
    """The versions of one process's graphs among those of the others."""

    def __init__(self, pool: Pool, registry: Registry, process_id: UUID, *, executes: bool) -> None:
        self._pool = pool
        self._registry = registry
        self._process_id = process_id
        self._executes = executes
        self._registered: set[tuple[str, str]] = set()

    async def register(self) -> None:
        """Say which versions this process executes; those of factories, once they are known."""
        new = [each for each in self._registry.versions if (each.graph_id, each.topology_hash) not in self._registered]
        if not new or not self._executes:
            return
        self._registered.update((each.graph_id, each.topology_hash) for each in new)
        parameters = {
            "process_id": self._process_id,
            "graph_ids": [each.graph_id for each in new],
            "topology_hashes": [each.topology_hash for each in new],
            "code_hashes": [each.code_hash for each in new],
            "topologies": [_storable(encode(each.topology).decode()) for each in new],
        }
        async with self._pool.connection() as connection:
            await connection.execute(_SQL["register"], parameters)

    @asynccontextmanager
    async def registered(self) -> AsyncIterator[None]:
        """Be known for the length of the block. Leaving it, before the process stops, lets nobody wait for it more."""
        await self.register()
        try:
            yield
        finally:
            with suppress(Error, PoolTimeout, OSError):  # without a database the process's lease passes by itself
                async with self._pool.connection(timeout=2.0) as connection:
                    await connection.execute(_SQL["withdraw"], {"process_id": self._process_id})

    async def compare(self, topology_hash: str | None, version: Version, gone: Iterable[str] = ()) -> Change:
        """Return what became of a graph since that version of it."""
        known = None
        if topology_hash is not None:
            parameters = {
                "graph_id": version.graph_id,
                "topology_hash": topology_hash,
                "mine": version.topology_hash,
                "process_id": self._process_id,
            }
            async with self._pool.connection() as connection, connection.cursor(row_factory=_known_row) as cursor:
                await cursor.execute(_SQL["find"], parameters)
                known = await cursor.fetchone()
        return Change(topology_hash, version, tuple(gone), known)

    async def check(self, request: RunRequest) -> None:
        """Raise VersionPinned for a run that no living process would execute on its thread, as far as is known now."""
        version = self._registry.version(request.graph_id)
        if request.fresh_thread or version is None:
            return
        if self._registry.on_version_change(request.graph_id) is not OnVersionChange.PINNED:
            return
        metadata = await self._start(request)
        if (theirs := version_of(metadata, version)) in (None, version.topology_hash):
            return
        change = await self.compare(theirs, version)
        if not (change.known and change.known.is_served):
            raise VersionPinned(request.thread_id, str(change))

    async def _start(self, request: RunRequest) -> Mapping[str, Any]:
        checkpoint = request.kwargs.get("checkpoint") or {}
        parameters = {
            "thread_id": request.thread_id,
            "checkpoint_id": request.kwargs.get("checkpoint_id") or checkpoint.get("checkpoint_id"),
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL["start"], parameters)
            row = await cursor.fetchone()
        return row[0] if row else {}


_known_row = class_row(Known)


def version_of(metadata: Mapping[str, Any], version: Version) -> str | None:
    """Return the topology that a checkpoint of that graph was made with; None for another graph's, or an older one."""
    found = metadata.get("topology_hash") if metadata.get("graph_id") == version.graph_id else None
    return str(found) if found else None


def _storable(text: str) -> str:
    """Return JSON text as `jsonb` takes it: names that it refuses are told with U+FFFD. They are for people."""
    return _REFUSED.sub(r"\1\\ufffd", text)
