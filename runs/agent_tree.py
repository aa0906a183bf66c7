"""Owns the tree of a run's graphs, root and subgraphs, with the state each is in: read from the run's log."""

from collections.abc import Iterable
from typing import Any

import orjson

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of
from threadline.runs.channels import Filter
from threadline.runs.envelopes import Envelopes
from threadline.runs.model import INPUT_REQUESTED, NODE_FINISHED, NODE_STARTED, JsonObject, LogEvent, LogRow, Run
from threadline.runs.sealed_rows import open_log

_LOG = load_statements("threadline.runs", "log.sql")
_LIFECYCLE = Filter(frozenset({"lifecycle"}))

Namespace = tuple[str, ...]


async def read_tree(pool: Pool, run: Run) -> JsonObject:
    """Return the root's node of the tree: {namespace, status, graph_name, children?, metadata}."""
    async with pool.connection() as connection:
        parameters = {"thread_id": run.thread_id, "run_id": run.run_id, "after": run.start_seq}
        cursor = await connection.execute(_LOG["of_run"], parameters, binary=True)
        found = await cursor.fetchall()
    rows = await open_log(vault_of(pool), [LogRow(run.thread_id, *row) for row in found])
    nodes: dict[Namespace, JsonObject] = {(): _node((), "started", run.graph_id)}
    nodes[()]["metadata"] = {"run_id": str(run.run_id)}
    for row in rows:
        _learn_from_nodes(nodes, row.events())
    _learn_from_lifecycles(nodes, rows)
    return _grow(nodes)


def _node(namespace: Namespace, status: str, graph_name: str) -> JsonObject:
    return {"namespace": list(namespace), "status": status, "graph_name": graph_name}


def _learn_from_nodes(nodes: dict[Namespace, JsonObject], events: Iterable[LogEvent]) -> None:
    """A subgraph is where nodes run, and lives as long as the node of its parent that it is."""
    for event in events:
        if event.name not in (NODE_STARTED, NODE_FINISHED, INPUT_REQUESTED):
            continue
        data = orjson.loads(event.data)
        ns: Namespace = tuple(data["ns"])
        if event.name == NODE_STARTED:
            for depth in range(1, len(ns) + 1):
                path = ns[:depth]
                nodes.setdefault(path, _node(path, "running", path[-1].partition(":")[0]))
            continue
        task_id = data["id"] if event.name == NODE_FINISHED else data["task_id"]
        status = "interrupted" if event.name == INPUT_REQUESTED else "failed" if data["error"] else "completed"
        for path, node in nodes.items():
            if path and path[:-1] == ns and path[-1].partition(":")[2] == task_id:
                node["status"] = status


def _learn_from_lifecycles(nodes: dict[Namespace, JsonObject], rows: Iterable[LogRow]) -> None:
    """What the log tells of a graph's life counts more than what its nodes let guess."""
    envelopes = Envelopes()
    for row in rows:
        for envelope in envelopes.read(row, 0, _LIFECYCLE):
            data: Any = orjson.loads(envelope.body)["params"]["data"]
            path = envelope.namespace
            node = nodes.setdefault(path, _node(path, "started", path[-1].partition(":")[0] if path else ""))
            node["status"] = data["event"]
            if data.get("graph_name"):
                node["graph_name"] = data["graph_name"]
            if data.get("error"):
                node.setdefault("metadata", {})["error"] = data["error"]


def _grow(nodes: dict[Namespace, JsonObject]) -> JsonObject:
    for path in sorted(nodes, key=len):
        if path:
            parent = next(nodes[path[:depth]] for depth in range(len(path) - 1, -1, -1) if path[:depth] in nodes)
            parent.setdefault("children", []).append(nodes[path])
    return nodes[()]
