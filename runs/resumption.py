"""Owns how a run meets the checkpoint that it starts from, when another version of its graph made that.

Which versions there are is `versions`' to know, how a state is moved over `state_migration`'s.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Command

from threadline.checkpoints.buffer import RunBuffer
from threadline.checkpoints.pending import pending_nodes
from threadline.checkpoints.run_saver import RunSaver
from threadline.graphs.configuration import OnVersionChange
from threadline.graphs.registry import Graph
from threadline.graphs.versions import Version, node_names
from threadline.runs.errors import MigrationFailed, PendingNodesGone, VersionPinned
from threadline.runs.invocation import Invocation
from threadline.runs.model import Claim
from threadline.runs.state_migration import migrate_state, translate_answers
from threadline.runs.versions import Change, version_of
from threadline.runs.workshop import Workshop

logger = logging.getLogger("threadline.runs")

WAIT_SECONDS = 2.0  # until a run that another process is to take is offered again


class ServedElsewhere(Exception):
    """A living process has the version that the run's thread is of: the run is left to it."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """One attempt's way from the thread's past into the graph."""

    workshop: Workshop
    claim: Claim
    saver: RunSaver
    buffer: RunBuffer

    async def begin(self, graph: Graph, invocation: Invocation) -> Invocation:
        """Return the call as the past allows it; the policy of langgraph.json decides where versions differ.

        Costs no reading of its own: the graph is handed what was read here. Raises VersionPinned, PendingNodesGone,
        MigrationFailed, and ServedElsewhere.
        """
        version = self.workshop.registry.version(self.claim.run.graph_id)
        if version is None:
            return invocation
        self.saver.stamp = version.stamp
        await self.workshop.versions.register()
        saved = await self.saver.read_start(_start_of(invocation))
        if saved is None or saved.metadata.get("graph_id", version.graph_id) != version.graph_id:
            return invocation
        if is_resumed := resumes(invocation):
            self.saver.on_subgraph = lambda ns, found: self._check_subgraph(version, ns, found)
        theirs = version_of(saved.metadata, version)
        gone = [name for name in pending_nodes(saved.checkpoint) if name not in graph.nodes]
        if theirs != version.topology_hash and (theirs is not None or gone):
            change = await self.workshop.versions.compare(theirs, version, gone)
            self._tell(change)
            if self._policy(change) is OnVersionChange.MIGRATE:
                return await self._migrate(graph, invocation, saved, change)
            self._check(change, is_resumed=is_resumed)
        return _answering(invocation, saved)

    def _policy(self, change: Change) -> OnVersionChange:
        """A checkpoint from before there were versions is pinned to none."""
        policy = self.workshop.registry.on_version_change(change.version.graph_id)
        is_pinned = policy is OnVersionChange.PINNED
        return OnVersionChange.LATEST if is_pinned and change.topology_hash is None else policy

    def _check(self, change: Change, *, is_resumed: bool) -> None:
        is_pinned = self._policy(change) is OnVersionChange.PINNED
        if not is_pinned and not (change.gone and is_resumed):
            return
        if change.known and change.known.is_served:
            raise ServedElsewhere
        if is_pinned:
            raise VersionPinned(self.claim.run.thread_id, str(change))
        raise PendingNodesGone(self.claim.run.thread_id, _listed(change.gone), str(change))

    def _check_subgraph(self, version: Version, ns: str, saved: CheckpointTuple) -> None:
        """Refuse to go on in a subgraph that lacks what it was about to do; LangGraph would end it without a word."""
        names = node_names(version.topology, [part.partition(":")[0] for part in ns.split("|")])
        gone = [] if names is None else [name for name in pending_nodes(saved.checkpoint) if name not in names]
        if gone:
            change = Change(version_of(saved.metadata, version), version, tuple(gone))
            raise PendingNodesGone(self.claim.run.thread_id, f"{_listed(change.gone)} of {ns}", str(change))

    def _tell(self, change: Change) -> None:
        facts = {
            "run_id": str(self.claim.run.run_id),
            "thread_id": str(self.claim.run.thread_id),
            "graph_id": change.version.graph_id,
            "from_topology_hash": change.topology_hash,
            "topology_hash": change.version.topology_hash,
            "gone": list(change.gone),
            "differences": list(change.differences),
        }
        logger.warning("run.version_changed", extra=facts)

    async def _migrate(
        self, graph: Graph, invocation: Invocation, saved: CheckpointTuple, change: Change
    ) -> Invocation:
        if change.known and change.known.is_newer and change.known.is_served:
            raise ServedElsewhere  # the code that is on its way out must not take back what the new one has moved
        function = self.workshop.registry.migration(change.version.graph_id)
        await migrate_state(function, graph, saved, change, self.saver, self.buffer)
        invocation = _without_checkpoint(invocation)
        moved = await self.saver.read_start(_start_of(invocation))
        assert moved is not None
        left = [name for name in pending_nodes(moved.checkpoint) if name not in graph.nodes]
        if left and resumes(invocation):
            text = f"`migrate` left the thread waiting for {_listed(left)}, which the graph no longer has"
            raise MigrationFailed(f"{text}: return a Command with `goto`.")
        return _answering(invocation, moved)


def resumes(invocation: Invocation) -> bool:
    """Tell whether the call goes on with what is pending, instead of beginning anew or somewhere else."""
    given = invocation.graph_input
    return given is None or (isinstance(given, Command) and not given.goto)


def _start_of(invocation: Invocation) -> RunnableConfig:
    configurable = invocation.config["configurable"]
    keys = ("thread_id", "checkpoint_ns", "checkpoint_id")
    return {"configurable": {key: configurable[key] for key in keys if key in configurable}}


def _without_checkpoint(invocation: Invocation) -> Invocation:
    """The latest checkpoint is where the run goes on now, wherever it was to begin."""
    place = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
    configurable = {key: value for key, value in invocation.config["configurable"].items() if key not in place}
    return replace(invocation, config={**invocation.config, "configurable": configurable})


def _answering(invocation: Invocation, saved: CheckpointTuple) -> Invocation:
    """Answers that name questions by the ids they had before the thread was moved name them by the new ones."""
    given = invocation.graph_input
    metadata: Mapping[str, Any] = saved.metadata
    if not isinstance(given, Command) or "migrated_from" not in metadata:
        return invocation
    answers = translate_answers(given.resume, metadata.get("migrated_interrupts") or {})
    return replace(invocation, graph_input=replace(given, resume=answers))


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
