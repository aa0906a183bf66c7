"""Owns what the log and LangGraph's tables must agree on, as checks that return what is wrong instead of raising.

So a test can ask for no violations, and another one can ask for some where it has removed the guard.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson

from threadline.runs.model import INPUT_REQUESTED, NODE_FINISHED
from threadline.tests.laboratory.laboratory import Laboratory, hole_in, read
from threadline.tests.laboratory.locks import until_blocked
from threadline.tests.laboratory.writing import flush_in, make_event, open_writer, seed_run

_LOG = """
    select xmin::text, first_seq, last_seq, run_id, contents, payload
    from run_events where thread_id = %s order by last_seq
"""
_WRITES = "select task_id, channel, xmin::text from checkpoint_writes where thread_id = %s"
_CHECKPOINTS = """
    select checkpoint_ns, checkpoint_id, xmin::text, metadata ->> 'source'
    from checkpoints where thread_id = %s order by checkpoint_ns, checkpoint_id
"""


class Ledger:
    """A thread's events, writes and checkpoints, each with the transaction that wrote it."""

    def __init__(self, events: list[tuple[str, str, Any]], writes: list[Any], checkpoints: list[Any]) -> None:
        self.events = events  # (transaction, name, data)
        self.writes: dict[str, set[tuple[str, str]]] = defaultdict(set)  # by task: (channel, transaction)
        for task, channel, transaction in writes:
            self.writes[task].add((channel, transaction))
        self.checkpoints = {checkpoint_id: transaction for _, checkpoint_id, transaction, _ in checkpoints}
        # A run that asks shows its state once more then, and once more when it goes on.
        self.asked = any(name == INPUT_REQUESTED for _, name, _ in events)
        # What a graph's `values` events report, in order: every checkpoint but that of the input.
        self.reported: dict[str, list[str]] = defaultdict(list)
        for ns, _, transaction, source in checkpoints:
            if source != "input":
                self.reported[ns].append(transaction)

    def violations(self) -> list[str]:
        """Every event that was not written in the transaction of what it reports."""
        return [*self._tasks(), *self._values(), *self._checkpoints()]

    def _tasks(self) -> Iterable[str]:
        before = ("", "")
        for transaction, name, data in self.events:
            if name == NODE_FINISHED and data["error"] is None:
                of_task = self.writes.get(data["id"])
                if not of_task:
                    yield f"the end of {data['name']} is logged, its writes are nowhere"
                elif transaction not in {each for _, each in of_task}:
                    yield f"the end of {data['name']} and its writes are two transactions"
            elif name == INPUT_REQUESTED:
                channels = self.writes.get(data["task_id"], set())
                if ("__interrupt__", transaction) not in channels:
                    yield "a question and its interrupt are two transactions"
            elif name in (".node_finished", "tasks") and before[1].startswith("updates") and before[0] != transaction:
                yield "an update and the end of its node are two transactions"
            before = (transaction, name)

    def _values(self) -> Iterable[str]:
        seen: dict[str, list[str]] = defaultdict(list)
        for transaction, name, data in self.events:
            mode, _, ns = name.partition("|")
            if mode == "values" and "__interrupt__" not in data:
                seen[ns].append(transaction)
        for ns, transactions in seen.items():
            missing = Counter(self.reported[ns]) - Counter(transactions)
            alone = Counter(transactions) - Counter(self.reported[ns])
            if missing:
                yield f"checkpoints of {ns!r} in {list(missing)} without their values, which lie in {list(alone)}"
            elif not self.asked and alone:
                yield f"values of {ns!r} lie in {list(alone)} without their checkpoint"

    def _checkpoints(self) -> Iterable[str]:
        for transaction, name, data in self.events:
            if name.partition("|")[0] == "checkpoints":
                checkpoint_id = data["config"]["configurable"]["checkpoint_id"]
                if int(self.checkpoints.get(checkpoint_id, transaction)) > int(transaction):
                    yield f"checkpoint {checkpoint_id} was written behind its event"


async def read_ledger(lab: Laboratory, thread_id: UUID) -> Ledger:
    events = []
    for transaction, _, _, _, contents, payload in await lab.rows(_LOG, thread_id):
        start = 0
        for name, length, _ in contents:
            events.append((transaction, name, orjson.loads(payload[start : start + length])))
            start += length
    checkpoints = await lab.rows(_CHECKPOINTS, str(thread_id))
    return Ledger(events, await lab.rows(_WRITES, str(thread_id)), checkpoints)


async def append_side_by_side(lab: Laboratory, *, rounds: int = 30) -> list[str]:
    """Let two writers and a reader loose on one thread, and return what they found wrong with its numbers.

    The reader sees what commits in the order in which it commits: a hole means that numbers have another order.
    """
    fence = await seed_run(lab)
    violations: list[str] = []
    done = asyncio.Event()

    async def append(name: str) -> None:
        async with open_writer(lab.database()) as bench:
            buffer = bench.open(fence)
            for number in range(rounds):
                try:
                    await buffer.committed(buffer.add(make_event(f"{name}{number}")))
                except Exception as error:  # whatever a missing guard leads to is the finding
                    violations.append(f"{name}{number} was refused: {error!r}")

    async def watch() -> None:
        while not done.is_set():
            if hole := hole_in(await lab.log_rows(fence.thread_id), None):
                violations.append(f"a reader saw a hole: {hole}")

    watching = asyncio.create_task(watch())
    holder = await lab.connect("test/holder")
    async with holder.transaction():
        # To begin with, a collision for certain: both have to wait for somebody whose number they cannot see.
        await flush_in(holder, fence, [make_event("first")])
        appending = [asyncio.create_task(append(name)) for name in ("a", "b")]
        await until_blocked(await lab.connect(), "threadline/writer/%", count=2)
    await asyncio.gather(*appending)
    done.set()
    await watching
    rows = await lab.log_rows(fence.thread_id)
    last_seq = await lab.value("select last_seq from thread_heads where thread_id = %s", fence.thread_id)
    if hole := hole_in(rows, last_seq):
        violations.append(hole)
    names = [read(event) for row in rows for event in row.events()]
    for name in ("a", "b"):
        if [each for each in names if each.startswith(name)] != [f"{name}{number}" for number in range(rounds)]:
            violations.append(f"what {name} wrote is not in the log in its order")
    return violations
