"""Owns the protocol's commands that look: at a run's graphs, at a thread's state and at its checkpoints."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from threadline.api.protocol_answers import INVALID, Answer, Command, CommandRefused, read_id
from threadline.runs.agent_tree import read_tree
from threadline.runs.channels import read_namespace, read_number
from threadline.runs.engine import Engine
from threadline.runs.model import JsonObject

PAGE = 10


class StateCommands:
    """Reads what a thread has."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get_tree(self, thread_id: UUID, command: Command) -> Answer:
        """Show the graphs of a run, by default the thread's last one."""
        given = command.params.get("run_id")
        if given is not None:
            run = await self._engine.queue.get(thread_id, read_id(given))
        else:
            runs = await self._engine.queue.list(thread_id, limit=1)
            if not runs:
                raise CommandRefused("no_such_run", "No run was started on this thread.")
            run = runs[0]
        return command.succeed({"tree": await read_tree(self._engine.pool, run)})

    async def get_state(self, thread_id: UUID, command: Command) -> Answer:
        """Return the state of the thread's graph, or of a subgraph."""
        namespace, keys = read_namespace(command.params.get("namespace")), command.params.get("keys")
        if keys is not None and not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
            raise CommandRefused(INVALID, "keys must be an array of strings.")
        try:
            state = await self._engine.states.get(thread_id, {"checkpoint_ns": "|".join(namespace)})
        except ValueError as error:  # LangGraph's word for a subgraph that is not there
            raise CommandRefused("no_such_namespace", str(error)) from None
        if namespace and state["checkpoint_id"] is None:
            raise CommandRefused("no_such_namespace", f"Nothing was stored at namespace {list(namespace)}.")
        values = state["values"]
        if keys is not None and isinstance(values, dict):
            values = {key: values[key] for key in keys if key in values}
        result: JsonObject = {"values": values}
        if state["checkpoint_id"]:
            result["checkpoint"] = {"id": state["checkpoint_id"], "ns": "|".join(namespace)}
        return command.succeed(result)

    async def list_checkpoints(self, thread_id: UUID, command: Command) -> Answer:
        """List the checkpoints of the thread's graph, or of a subgraph, newest first."""
        params = command.params
        namespace = "|".join(read_namespace(params.get("namespace")))
        limit = read_number(params, "limit")
        states = await self._engine.states.history(
            thread_id,
            limit=PAGE if limit is None else limit,
            before=params.get("before"),
            checkpoint={"checkpoint_ns": namespace} if namespace else None,
        )
        return command.succeed({"checkpoints": [_summary(state) for state in states]})


def _summary(state: Mapping[str, Any]) -> JsonObject:
    metadata = dict(state["metadata"] or {})
    summary = {"id": state["checkpoint_id"], "timestamp": state["created_at"], "step": metadata.get("step")}
    if state["parent_checkpoint_id"]:
        summary["parent_id"] = state["parent_checkpoint_id"]
    return {**summary, "source": metadata.get("source"), "metadata": metadata}
