"""Invariant 8: an event that reports a write is in the same flush as that write, and JSON is encoded once (9)."""

from typing import Any

import pytest

from threadline.runs.model import RUN_ENDED, RunStatus
from threadline.tests.laboratory.checks import read_ledger
from threadline.tests.laboratory.laboratory import Laboratory, read

ALL = ["values", "updates", "tasks", "checkpoints", "debug", "custom"]
GRAPHS = ("line", "fork", "nested", "asking", "asking_twice", "talking", "remembering", "retrying")


def given(lab: Laboratory) -> dict[str, Any]:
    return {"input": {"folder": str(lab.folder), "log": []}, "subgraphs": True}


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("modes", [["values", "updates"], ALL], ids=["usual", "all"])
async def test_every_event_that_reports_a_write_lies_in_the_transaction_of_that_write(
    lab: Laboratory, durability: str, modes: list[str]
) -> None:
    engine = await lab.open()
    for graph_id in GRAPHS:
        how: dict[str, Any] = {"durability": durability, "stream_mode": modes}
        run = await lab.run(engine, graph_id, **given(lab), **how)
        assert run.status is RunStatus.SUCCESS, graph_id
        while questions := await lab.value("select interrupts from threads where thread_id = %s", run.thread_id):
            answers = {interrupt["id"]: "yes" for asked in questions.values() for interrupt in asked}
            run = await lab.run(engine, graph_id, run.thread_id, **how, command={"resume": answers}, subgraphs=True)
            assert run.status is RunStatus.SUCCESS, graph_id
        ledger = await read_ledger(lab, run.thread_id)
        assert sum(name == ".node_finished" for _, name, _ in ledger.events) >= 1
        assert ledger.violations() == [], graph_id


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_an_update_lies_beside_the_end_of_its_node_and_values_beside_their_checkpoint(
    lab: Laboratory, durability: str
) -> None:
    """The same, seen in the log alone: what a crash leaves of one row is all of it."""
    engine = await lab.open()
    run = await lab.run(engine, "fork", **given(lab), durability=durability)
    rows = await lab.log_rows(run.thread_id)
    for row in rows:
        names = [name for name, *_ in row.contents]
        assert names.count("updates") == names.count(".node_finished")
    assert sum(name == "updates" for row in rows for name, *_ in row.contents) == 4
    statement = "select (metadata ->> 'step')::int, xmin::text from checkpoints where thread_id = %s"
    steps = await lab.rows(statement, str(run.thread_id))
    ledger = await read_ledger(lab, run.thread_id)
    nodes: list[set[str]] = [set(), {"first"}, {"first", "left", "right"}, {"first", "left", "right", "join"}]
    for step, transaction in steps:
        states = [set(data["log"]) for where, name, data in ledger.events if (where, name) == (transaction, "values")]
        if durability == "sync":
            assert states == ([nodes[step]] if step >= 0 else [])
        else:  # several supersteps may share a transaction
            assert step < 0 or nodes[step] in states


async def test_without_checkpoints_on_the_way_events_flow_at_once(lab: Laboratory) -> None:
    """Durability exit writes nothing until the end: there is nothing to wait for."""
    engine = await lab.open()
    folder = lab.make_folder()
    request = lab.request("line", input={"folder": str(folder), "gates": ["c"], "log": []}, durability="exit")
    run = await engine.queue.create(request)
    await lab.until_traced(folder, "c started")
    async with engine.tails.follow(run.thread_id, 0) as subscription:
        names: list[str] = []
        while names.count("updates") < 2:
            names += [name for row in await subscription.next_rows(5) for name, *_ in row.contents]
    assert names.count("values") == 3
    assert await lab.value("select count(*) from checkpoints where thread_id = %s", str(run.thread_id)) == 0


async def test_json_is_encoded_once_and_the_log_keeps_the_bytes_with_their_lengths(lab: Laboratory) -> None:
    """Readers in memory and in the database get the very bytes that the worker made."""
    engine, other = await lab.open(), await lab.open(executes=False)
    odd = {"text": "käse \U0001f9c0 \u2028", "big": 2**62, "small": 1e-9, "nested": [[], {}, None, True]}
    run = await engine.queue.create(lab.request("giving", input={"folder": str(lab.folder), "value": odd, "log": []}))
    seen: list[list[tuple[int, str, bytes]]] = []
    for reader in (engine, other):
        events: list[tuple[int, str, bytes]] = []
        async with reader.tails.follow(run.thread_id, 0) as subscription:
            while not events or events[-1][1] != RUN_ENDED:
                rows = await subscription.next_rows(5)
                events += [(event.seq, event.name, event.data) for row in rows for event in row.events()]
        seen.append(events)
    stored = await lab.log(run.thread_id)
    assert seen[0] == seen[1] == [(event.seq, event.name, event.data) for event in stored]
    assert read(stored[-1])["value"] == odd
    assert await engine.tails.result(run) == stored[-1].data
