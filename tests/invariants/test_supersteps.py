"""How far a run may be ahead of its checkpoints while the database takes nothing, and what a stop there leaves."""

import asyncio
from collections.abc import AsyncIterator
from json import loads
from pathlib import Path
from typing import Any

import pytest

from threadline.runs.engine import Engine
from threadline.runs.model import NODE_STARTED, CancelAction, Run
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.proxy import Proxy, open_proxy

FLUSH = "insert into checkpoints"


def given(folder: Path, *gates: str, **values: Any) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": [], **values}}


@pytest.fixture
async def proxy(lab: Laboratory) -> AsyncIterator[Proxy]:
    async with open_proxy(lab.dsn) as opened:
        yield opened
        opened.release()
        await lab.exit()


async def is_logged(lab: Laboratory, run: Run, node: str) -> bool:
    events = [event for row in await lab.log_rows(run.thread_id) for event in row.events()]
    return any(event.name == NODE_STARTED and loads(event.data)["name"] == node for event in events)


async def start_held(lab: Laboratory, proxy: Proxy, graph: str, gate: str, durability: str) -> tuple[Engine, Run, Path]:
    """Start a run, and let its node at `gate` go on when nothing can be written any more."""
    engine, folder = await lab.open(proxy.conninfo), lab.make_folder()
    run = await engine.queue.create(lab.request(graph, **given(folder, gate), durability=durability))
    await lab.until_traced(folder, f"{gate} started")
    await until(lambda: is_logged(lab, run, gate), f"the start of {gate}, and all that came before, is committed")
    proxy.hold(FLUSH)
    open_gate(folder, gate)
    return engine, run, folder


@pytest.mark.parametrize(
    ("graph", "durability", "gate", "done", "not_begun"),
    [
        ("long", "sync", "b", "b", "c"),
        ("long", "async", "b", "f", "g"),
        ("deep", "async", "b", "f", "g"),
    ],
)
async def test_a_run_is_no_further_ahead_of_its_checkpoints_than_its_durability_says(
    lab: Laboratory, proxy: Proxy, graph: str, durability: str, gate: str, done: str, not_begun: str
) -> None:
    engine, run, folder = await start_held(lab, proxy, graph, gate, durability)
    await lab.until_traced(folder, f"{done} done")
    await asyncio.sleep(0.2)  # in which a run that was not held would be at its end
    assert f"{not_begun} started" not in trace(folder)
    proxy.release()
    await engine.tails.result(run)
    assert await lab.status(run) == "success"
    assert set(trace(folder).values()) == {1}


async def test_a_run_that_is_cancelled_while_nothing_can_be_written_keeps_the_supersteps_it_has_finished(
    lab: Laboratory, proxy: Proxy
) -> None:
    engine, run, folder = await start_held(lab, proxy, "long", "b", "async")
    await lab.until_traced(folder, "f done")
    await engine.queue.cancel(run.thread_id, run.run_id, CancelAction.INTERRUPT)
    await asyncio.sleep(0.2)  # in which the worker stops the run, whose end it cannot write yet
    proxy.release()
    await engine.tails.result(run)
    assert await lab.status(run) == "interrupted"
    state = await engine.states.get(run.thread_id)
    assert (state["values"]["log"], state["next"]) == (list("abcdef"), ["g"])


async def test_a_last_checkpoint_that_the_database_refuses_is_the_runs_error(lab: Laboratory) -> None:
    """Nobody waits for that one but the run's end."""
    await lab.rows("alter table checkpoint_blobs add constraint no_poison check (blob <> 'poison')")
    engine = await lab.open()
    for durability in ("sync", "async"):
        how = {**given(lab.make_folder(), value=b"nosiop"), "durability": durability}
        run = await lab.run(engine, "turning", **how)
        assert run.error is not None
        assert (run.status, run.error["error"]) == ("error", "CheckViolation")


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_subgraph_without_checkpoints_runs_under_every_durability(lab: Laboratory, durability: str) -> None:
    engine, folder = await lab.open(), lab.make_folder()
    assert (await lab.run(engine, "forgetful", **given(folder), durability=durability)).status == "success"
    assert trace(folder)["note done"] == 1
