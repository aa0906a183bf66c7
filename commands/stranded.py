"""Owns `threadline doctor --threads`: which waiting threads the code that lies here would strand, and what to do.

It imports the project and reads the database; it changes neither, executes nothing, and may run beside servers.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig
from psycopg import AsyncConnection

from threadline.checkpoints.stored_classes import lost_classes
from threadline.commands.databases import any_database
from threadline.commands.exits import CommandFailed
from threadline.commands.looking_back import print_json
from threadline.commands.stopping import run_until_stopped
from threadline.graphs.configuration import Configuration, OnVersionChange
from threadline.graphs.registry import Registry
from threadline.graphs.versions import Topology, Version, differences, node_names
from threadline.runs.model import JsonObject
from threadline.runs.waiting import Waiting, read_pending, read_topology, read_values, read_waiting
from threadline.settings import DatabaseSettings, Settings

# What strands a thread, worst first, and what to do about it.
ADVICE = {
    "graph_gone": "keep the graph in langgraph.json until these threads are over, or delete them",
    "graph_broken": "mend the graph's import: see `threadline doctor`",
    "node_gone": "keep the node until these threads are over, or have `on_version_change: migrate` move them",
    "pinned": "keep a worker with their version until these threads are over, or have them moved with `migrate`",
    "types_lost": "keep the class where it was, declare it, or name it in checkpointer.serde.allowed_msgpack_modules",
}
# What is worth knowing and strands nobody.
NOTES = {
    "migrates": "will be moved by the graph's `migrate` function when they go on",
    "changed": "go on with a graph of another shape that still has their next nodes",
    "unjudged": "are of a factory that made no graph without a run",
    "unseen": "hold values that were not looked into: too large, or not readable",
}


@dataclass
class _Doctor:
    """Judges one thread after the other; what it remembers grows with the versions, not with the threads."""

    registry: Registry
    connection: AsyncConnection[Any]
    _told: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    async def judge(self, thread: Waiting) -> JsonObject:
        """Return what is to be said about a thread."""
        view: JsonObject = {
            "thread_id": str(thread.thread_id),
            "status": thread.status,
            "graph_id": thread.graph_id,
            "topology_hash": thread.topology_hash,
            "checkpoint_id": thread.checkpoint_id,
            "next": [],
            "problems": {},
            "notes": [],
        }
        if thread.graph_id not in self.registry.graph_ids:
            view["problems"]["graph_gone"] = f"there is no graph {thread.graph_id!r}"
        elif failure := self.registry.errors.get(thread.graph_id):
            view["problems"]["graph_broken"] = str(failure)
        elif thread.checkpoint is not None:
            await self._judge_checkpoint(thread, view)
        return view

    async def _judge_checkpoint(self, thread: Waiting, view: JsonObject) -> None:
        values = await read_values(self.connection, thread)
        allowed = self.registry.schema_allowlist(thread.graph_id)
        if lost := lost_classes(values.classes, allowed):
            view["problems"]["types_lost"] = f"come back as plain dicts: {', '.join(lost)}"
        if values.unseen:
            view["notes"].append("unseen")
        pending = await read_pending(self.connection, thread, values.sends)
        view["next"] = sorted({name for names in pending.values() for name in names})
        version = self.registry.version(thread.graph_id)
        if version is None:
            view["notes"].append("unjudged")
        elif (thread.metadata or {}).get("graph_id", thread.graph_id) == thread.graph_id:
            await self._judge_version(thread, view, version, list(_gone(version.topology, pending)))

    async def _judge_version(self, thread: Waiting, view: JsonObject, version: Version, gone: list[str]) -> None:
        is_changed = thread.topology_hash is not None and thread.topology_hash != version.topology_hash
        policy = self.registry.on_version_change(thread.graph_id)
        told = await self._differences(thread, version) if is_changed else ()
        if (is_changed or gone) and policy is OnVersionChange.MIGRATE:
            view["notes"].append("migrates")
        elif is_changed and policy is OnVersionChange.PINNED:
            view["problems"]["pinned"] = f"was left by another version: {'; '.join(told)}"
        elif gone:
            view["problems"]["node_gone"] = f"waits for {', '.join(gone)}"
        elif is_changed:
            view["notes"].append("changed")
        view["differences"] = list(told)

    async def _differences(self, thread: Waiting, version: Version) -> tuple[str, ...]:
        key = (thread.graph_id, str(thread.topology_hash))
        if key not in self._told:
            old = await read_topology(self.connection, *key)
            self._told[key] = tuple(differences(old, version.topology)) if old else ("nobody knows how it was shaped",)
        return self._told[key]


def _gone(topology: Topology, pending: Any) -> Iterator[str]:
    for ns, nodes in pending.items():
        path = [part.partition(":")[0] for part in ns.split("|")] if ns else []
        names = node_names(topology, path)
        if names is not None:
            yield from ("/".join([*path, name]) for name in nodes if name not in names)


def examine_threads(settings: Settings, configuration: Configuration, *, as_json: bool) -> None:
    """Print each thread that would be stranded, then counts. Raises CommandFailed if there is one."""
    run_until_stopped(tell_stranded(settings.database, Registry(configuration), as_json=as_json))


async def tell_stranded(settings: DatabaseSettings, registry: Registry, *, as_json: bool) -> None:
    """Do what `examine_threads` says, inside a running loop."""
    counts: Counter[str] = Counter()
    async with any_database(settings) as found, await found.database.connect("doctor") as connection:
        await connection.set_read_only(True)
        await connection.set_autocommit(True)
        await _make_graphs(registry)
        async for view in _judge_all(registry, connection):
            counts["threads"] += 1
            counts["stranded"] += bool(view["problems"])
            counts.update([*view["problems"], *view["notes"]])
            if as_json:
                print_json(view)
            elif view["problems"]:
                _print_thread(view)
    if as_json:
        kinds = {kind: counts[kind] for kind in (*ADVICE, *NOTES)}
        print_json({"threads": counts["threads"], "stranded": counts["stranded"], **kinds})
    else:
        _print_counts(counts)
    if counts["stranded"]:
        raise CommandFailed(f"this code would strand {counts['stranded']} of {counts['threads']} threads")


async def _judge_all(registry: Registry, connection: AsyncConnection[Any]) -> AsyncIterator[JsonObject]:
    doctor = _Doctor(registry, connection)
    async for thread in read_waiting(connection):
        yield await doctor.judge(thread)


async def _make_graphs(registry: Registry) -> None:
    """Have factories make their graph once, as for somebody who reads: until then it has no version."""
    config: RunnableConfig = {"configurable": {}}
    for graph_id in registry.graph_ids:
        if graph_id in registry.errors or registry.version(graph_id) is not None:
            continue
        try:
            async with registry.open_graph(
                graph_id, checkpointer=None, store=None, config=config, context_kind="threads.read"
            ):
                pass
        except Exception:  # noqa: S112  # a factory that needs a run makes none: its threads are told as not judged
            continue


def _print_thread(view: JsonObject) -> None:
    reasons = "; ".join(f"{kind}: {text}" for kind, text in view["problems"].items())
    print(f"{view['thread_id']}  {view['status']:<11} {view['graph_id']}  {reasons}", flush=True)


def _print_counts(counts: Counter[str]) -> None:
    print(f"{counts['threads']} threads wait, work or have failed; {counts['stranded']} would be stranded.")
    for kind, advice in ADVICE.items():
        if counts[kind]:
            print(f"  {counts[kind]} {kind}: {advice}")
    for kind, note in NOTES.items():
        if counts[kind]:
            print(f"  {counts[kind]} {note}")
