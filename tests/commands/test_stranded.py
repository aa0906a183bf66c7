"""Owns the proof that the doctor lists the threads that a deploy would strand, and nobody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from threadline.checkpoints.pool import Database
from threadline.commands.exits import CommandFailed
from threadline.commands.stranded import tell_stranded
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.model import Run
from threadline.settings import load_settings
from threadline.tests.commands.programs import run
from threadline.tests.laboratory.places import variables
from threadline.tests.runs.life_world import World
from threadline.tests.runs.version_world import ASKING, EXTENDED, RENAMED, Deploys, write_version

KEPT = """
from dataclasses import dataclass

@dataclass
class Plan:
    text: str

class Planned(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    plan: Any

def plan(state):
    return {"plan": Plan("walk")}

builder = StateGraph(Planned).add_node("plan", plan).add_node("ask", ask("ask"))
graph = builder.add_edge(START, "plan").add_edge("plan", "ask").compile()
"""
SENDING = """
def fan(state):
    return [Send("work", {"log": ["sent"]}), Send("work", {"log": ["sent"]})]

builder = StateGraph(State).add_node("plan", step("plan")).add_node("work", ask("work"))
graph = builder.add_edge(START, "plan").add_conditional_edges("plan", fan, ["work"]).compile()
"""
NESTED = "inner = line(first=step('first'), {name}=ask('{name}')).compile()\ngraph = line(sub=inner).compile()"


@pytest.fixture
async def deploys(database: Database, tmp_path: Path) -> AsyncIterator[Deploys]:
    async with AsyncExitStack() as stack:
        yield Deploys(database, tmp_path / "served", stack)


class Doctor:
    """The doctor with a project on the test's database."""

    def __init__(self, dsn: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._settings = load_settings(variables(dsn)).database
        self._folder = folder
        self._capsys = capsys
        self._visits = 0

    def write(self, code: str, **keys: Any) -> Path:
        """Write the version that is to be deployed."""
        self._visits += 1
        folder = self._folder / f"next{self._visits}"
        write_version(folder, code, **keys)
        return folder / "langgraph.json"

    async def visit(self, code: str, *, as_json: bool = False, **keys: Any) -> tuple[str, str]:
        """Have this version looked at: what is printed, and the complaint the command ends with."""
        registry = Registry(load_configuration(self.write(code, **keys)))
        complaint = ""
        try:
            await tell_stranded(self._settings, registry, as_json=as_json)
        except CommandFailed as error:
            complaint = str(error)
        return self._capsys.readouterr().out, complaint

    async def look(self, code: str, **keys: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What it says as JSON: each thread by its id, and the counts."""
        out, _ = await self.visit(code, as_json=True, **keys)
        *threads, counts = [json.loads(line) for line in out.splitlines()]
        return {each["thread_id"]: each for each in threads}, counts


@pytest.fixture
def doctor(dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(dsn, tmp_path, capsys)


async def finish(world: World) -> Run:
    run = await world.start("agent")
    await world.answer(run)
    done = await world.engine.queue.create(
        world.ask_for("agent", thread_id=run.thread_id, kwargs={"command": {"resume": "yes"}})
    )
    await world.answer(done)
    return run


async def test_threads_whose_next_node_is_gone_are_listed_with_what_to_do(deploys: Deploys, doctor: Doctor) -> None:
    world, run = await deploys.pause()
    over = await finish(world)
    out, complaint = await doctor.visit(RENAMED)
    assert f"{run.thread_id}  interrupted agent  node_gone: waits for ask" in out
    assert str(over.thread_id) not in out
    assert "1 threads wait, work or have failed; 1 would be stranded." in out
    assert "1 node_gone: keep the node until these threads are over" in out
    assert complaint == "this code would strand 1 of 1 threads"


async def test_a_deploy_that_strands_nobody_is_told_so(deploys: Deploys, doctor: Doctor) -> None:
    await deploys.pause()
    out, complaint = await doctor.visit(EXTENDED)
    assert complaint == ""
    assert "1 threads wait, work or have failed; 0 would be stranded." in out
    assert "1 go on with a graph of another shape" in out
    assert await doctor.visit(ASKING) == ("1 threads wait, work or have failed; 0 would be stranded.\n", "")


async def test_the_policy_of_the_graph_decides(deploys: Deploys, doctor: Doctor) -> None:
    _, run = await deploys.pause()
    threads, counts = await doctor.look(EXTENDED, on_version_change="pinned")
    told = threads[str(run.thread_id)]["problems"]["pinned"]
    assert told.startswith("was left by another version: node report is new; edge ")
    assert (counts["stranded"], counts["pinned"]) == (1, 1)
    threads, counts = await doctor.look(RENAMED, migrate="def migrate(values, change):\n    return None")
    assert threads[str(run.thread_id)]["notes"] == ["migrates"]
    assert (counts["stranded"], counts["migrates"]) == (0, 1)


async def test_a_graph_that_is_gone_strands_its_threads_and_pending_runs(deploys: Deploys, doctor: Doctor) -> None:
    world, run = await deploys.pause()
    waiting = await world.engine.queue.create(world.ask_for("agent", {"log": []}, delay=timedelta(hours=1)))
    threads, counts = await doctor.look(ASKING, name="renamed")
    for each, status in ((run, "interrupted"), (waiting, "busy")):
        assert threads[str(each.thread_id)]["status"] == status
        assert threads[str(each.thread_id)]["problems"] == {"graph_gone": "there is no graph 'agent'"}
    assert (counts["threads"], counts["stranded"], counts["graph_gone"]) == (2, 2, 2)


async def test_nodes_of_subgraphs_and_sent_tasks_are_looked_for_too(deploys: Deploys, doctor: Doctor) -> None:
    world, nested = await deploys.pause(NESTED.format(name="ask"))
    await deploys.stop(world)
    _, sending = await deploys.pause(SENDING)
    threads, _ = await doctor.look(NESTED.format(name="question"))
    assert threads[str(nested.thread_id)]["problems"] == {"node_gone": "waits for sub/ask"}
    assert threads[str(sending.thread_id)]["problems"] == {"node_gone": "waits for work"}
    threads, _ = await doctor.look(SENDING)
    assert threads[str(sending.thread_id)]["problems"] == {}


async def test_classes_that_come_back_as_something_else_are_named(deploys: Deploys, doctor: Doctor) -> None:
    _, run = await deploys.pause(KEPT)
    threads, counts = await doctor.look(KEPT.replace("Plan:", "Scheme:").replace("Plan(", "Scheme("))
    (told,) = threads[str(run.thread_id)]["problems"].values()
    assert told.startswith("come back as plain dicts: graph_agent_")
    assert told.endswith(".Plan")
    assert counts["types_lost"] == 1


async def test_a_database_of_an_earlier_release_is_judged_by_what_its_threads_wait_for(
    deploys: Deploys, doctor: Doctor
) -> None:
    world, run = await deploys.pause()
    await deploys.stop(world)
    await deploys.rows("update checkpoints set metadata = metadata - 'topology_hash' - 'code_hash'")
    await deploys.rows("drop table process_graphs, graph_versions")
    threads, counts = await doctor.look(RENAMED)
    assert threads[str(run.thread_id)]["problems"] == {"node_gone": "waits for ask"}
    assert counts["stranded"] == 1


async def test_many_threads_are_read_page_by_page(
    deploys: Deploys, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadline.runs.waiting._PAGE", 3)
    world = await deploys.start(ASKING)
    runs = [await world.start("agent") for _ in range(7)]
    await asyncio.gather(*(world.answer(run) for run in runs))
    threads, counts = await doctor.look(RENAMED)
    assert list(threads) == sorted(str(run.thread_id) for run in runs)
    assert counts["stranded"] == 7


async def test_the_command_ends_with_an_error_where_a_thread_would_be_stranded(
    deploys: Deploys, doctor: Doctor, dsn: str
) -> None:
    _, run_ = await deploys.pause()
    config = str(doctor.write(RENAMED))
    done = await asyncio.to_thread(run, "doctor", "--threads", "--config", config, "--database", dsn)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{run_.thread_id}  interrupted agent  node_gone")
    assert done.stderr == "threadline doctor: this code would strand 1 of 1 threads\n"
    done = await asyncio.to_thread(run, "doctor", "--json", "--config", config)
    assert (done.returncode, done.stderr) == (2, "threadline doctor: --json goes with --threads\n")
