"""Owns the rules on checkpoints: each report in the transaction of its write, ids in order, one line per thread."""

from collections import defaultdict
from collections.abc import Iterator

import orjson

from threadline.runs.model import NODE_FINISHED
from threadline.tests.faults.facts import Checkpoint, History


def find_split_reports(history: History) -> Iterator[str]:
    """The end of a node is logged in the transaction that stored its writes, unless its run stores at its end only."""
    stored: dict[tuple[str, str], set[int]] = defaultdict(set)
    for write in history.writes:
        stored[write.thread_id, write.task_id].add(write.transaction)
    saving = {row.run_id for row in history.runs if row.durability != "exit"}
    for row in history.log:
        for event in row.events if row.run_id in saving else ():  # one that was rolled back has left only its events
            if event.name != NODE_FINISHED:
                continue
            data = orjson.loads(event.data)
            of_task = stored.get((row.thread_id, data["id"]), set())
            if data["error"] is None and not of_task:
                yield f"{row.run_id}: the end of {data['name']} is logged, its writes are nowhere"
            elif data["error"] is None and row.transaction not in of_task:
                yield f"{row.run_id}: the end of {data['name']} and its writes are two transactions"


def find_late_checkpoints(history: History) -> Iterator[str]:
    """A checkpoint that was committed later has a greater id, whatever clock its process had."""
    for (thread_id, ns), checkpoints in _by_place(history).items():
        newest = ""
        for checkpoint in sorted(checkpoints, key=lambda each: (each.transaction, each.checkpoint_id)):
            if checkpoint.checkpoint_id < newest:
                yield f"{thread_id} {ns!r}: {checkpoint.checkpoint_id} was committed behind {newest}"
            newest = max(newest, checkpoint.checkpoint_id)


def find_branches(history: History) -> Iterator[str]:
    """No two checkpoints go on from the same one: that would be two owners of a thread at once."""
    for (thread_id, ns), checkpoints in _by_place(history).items():
        children: dict[str | None, int] = defaultdict(int)
        for checkpoint in checkpoints:
            children[checkpoint.parent_id] += 1
        for parent_id, count in children.items():
            if count > 1:
                yield f"{thread_id} {ns!r}: {count} checkpoints go on from {parent_id}"


def _by_place(history: History) -> dict[tuple[str, str], list[Checkpoint]]:
    found: dict[tuple[str, str], list[Checkpoint]] = defaultdict(list)
    for checkpoint in history.checkpoints:
        found[checkpoint.thread_id, checkpoint.ns].append(checkpoint)
    return found
