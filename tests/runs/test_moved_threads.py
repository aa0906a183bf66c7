"""What a moved thread keeps: results of tasks that had ended, questions that are open, and its input when all dies."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from threadline.checkpoints.pool import Database
from threadline.runs.model import MultitaskStrategy
from threadline.tests.runs.life_world import World, eventually
from threadline.tests.runs.version_world import ASKING, EXTENDED, RENAMED, Deploys, go_on, open_deploys, resume

BESIDE = """
calls = []

def work(state):
    from pathlib import Path
    with open(Path(__file__).parent.parent / "worked", "a") as file:
        file.write("worked\\n")
    return {"log": ["work"]}

def beside(*more):
    builder = StateGraph(State).add_node("work", work).add_node("left", ask("left")).add_node("right", ask("right"))
    for name in ("work", "left", "right"):
        builder.add_edge(START, name).add_edge(name, "join")
    return builder.add_node("join", step("join"))

graph = beside().compile()
"""
BESIDE_AND_MORE = BESIDE.replace(
    "graph = beside().compile()", "graph = beside().add_node('last', step('last')).add_edge('join', 'last').compile()"
)
KEEP = "def migrate(values, change):\n    return {'name': f'was {values.get(\"name\")}'}"
NESTED = """
inner = line(first=step('first'), {name}=ask('{name}')).compile()
graph = line(plan=step('plan'), sub=inner).compile()
"""
DELTA = """
from langgraph.channels.delta import DeltaChannel

def add(old, writes):
    return [*old, *(each for write in writes for each in write)]

class State(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(add)]
    name: str

graph = line(plan=step('plan'), {name}=ask('{name}'), act=step('act')).compile()
"""


@pytest.fixture
async def deploys(database: Database, tmp_path: Path) -> AsyncIterator[Deploys]:
    async for made in open_deploys(database, tmp_path):
        yield made


async def questions(world: World, thread_id: Any) -> list[str]:
    """The ids that a client knows the thread's questions by."""
    thread = await world.engine.threads.get(thread_id)
    return [each["id"] for asked in thread.interrupts.values() for each in asked]


async def test_a_task_that_had_ended_does_not_run_again_and_questions_keep_their_answers(deploys: Deploys) -> None:
    old, run = await deploys.pause(BESIDE)
    asked = await questions(old, run.thread_id)
    assert len(asked) == 2
    await deploys.stop(old)
    new = await deploys.start(BESIDE_AND_MORE, migrate=KEEP)
    _, values = await resume(new, run, {asked[0]: "one"})
    assert len(values["__interrupt__"]) == 1
    left = await questions(new, run.thread_id)
    assert len(left) == 1
    assert not {*left} & {*asked}
    _, values = await resume(new, run, {left[0]: "two"})
    assert values["log"][0] == "in"
    assert sorted(values["log"][1:4]) in (["left=one", "right=two", "work"], ["left=two", "right=one", "work"])
    assert values["log"][4:] == ["join", "last"]
    assert values["name"] == "was None"
    assert (deploys.folder / "worked").read_text().splitlines() == ["worked"]


async def test_both_answers_may_name_the_questions_as_they_were_asked(deploys: Deploys) -> None:
    old, run = await deploys.pause(BESIDE)
    asked = await questions(old, run.thread_id)
    await deploys.stop(old)
    new = await deploys.start(BESIDE_AND_MORE, migrate=KEEP)
    _, values = await resume(new, run, dict.fromkeys(asked, "yes"))
    assert sorted(values["log"][1:4]) == ["left=yes", "right=yes", "work"]
    assert values["log"][4:] == ["join", "last"]


async def test_an_answer_by_the_old_id_reaches_the_node_that_asks_now(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    (asked,) = await questions(old, run.thread_id)
    await deploys.stop(old)
    new = await deploys.start(RENAMED, migrate="def migrate(values, change):\n    return Command(goto='question')")
    _, values = await resume(new, run, {asked: "yes"})
    assert values["log"] == ["in", "plan", "question=yes", "act"]


async def test_a_thread_that_waits_for_nothing_is_moved_over_before_its_next_input(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    await resume(old, run)
    await deploys.stop(old)
    new = await deploys.start(EXTENDED, migrate=KEEP)
    _, values = await go_on(new, run, {"input": {"log": ["again"]}})
    assert values["log"][-2:] == ["again", "plan"]
    assert values["name"] == "was None"


async def test_the_function_is_told_what_has_changed(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    await deploys.stop(old)
    told = "async def migrate(values, change):\n    return Command(update={'name': repr(change)}, goto=END)"
    new = await deploys.start(RENAMED, migrate=told)
    _, values = await go_on(new, run, {"input": None})
    for part in (
        f"'thread_id': '{run.thread_id}'",
        f"'from_topology_hash': '{old.registry.stamp('agent')['topology_hash']}'",
        "'next': ['ask']",
        "'gone': ['ask']",
        "'node ask is gone'",
    ):
        assert part in values["name"]


async def test_old_values_that_the_new_state_has_no_place_for_reach_the_function(deploys: Deploys) -> None:
    renamed = (
        f"class State(TypedDict, total=False):\n    log: Annotated[list[str], operator.add]\n    title: str\n{ASKING}"
    )
    old = await deploys.start(ASKING)
    run = await old.engine.queue.create(old.ask_for("agent", {"log": ["in"], "name": "Ann"}))
    await old.answer(run)
    await deploys.stop(old)
    new = await deploys.start(renamed, migrate="def migrate(values, change):\n    return {'title': values['name']}")
    _, values = await resume(new, run)
    assert values == {"log": ["in", "plan", "ask=yes", "act"], "title": "Ann"}


async def test_a_state_that_is_the_sum_of_its_past_is_moved_over_whole(deploys: Deploys) -> None:
    old, run = await deploys.pause(DELTA.format(name="ask"))
    await deploys.stop(old)
    move = "def migrate(values, change):\n    return Command(update={'name': values['log'][-1]}, goto='question')"
    new = await deploys.start(DELTA.format(name="question"), migrate=move)
    _, values = await resume(new, run)
    assert values == {"log": ["in", "plan", "question=yes", "act"], "name": "plan"}


async def test_a_run_keeps_its_input_when_its_process_ends_behind_the_move(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    await resume(old, run)
    await deploys.stop(old)
    gate = "import asyncio\nasync def hold(state):\n    await asyncio.sleep(3600)\n"
    holding = f"{gate}graph = line(plan=hold, question=ask('question'), act=step('act')).compile()"
    cut = await deploys.start(holding, migrate=KEEP, drain=timedelta(seconds=0.3))
    kwargs = {"input": {"log": ["again"]}, "durability": "exit"}
    again = await cut.engine.queue.create(cut.ask_for("agent", thread_id=run.thread_id, kwargs=kwargs))
    await cut.reach(again, ".node_started")
    await deploys.stop(cut)
    moves = [each for each in await deploys.checkpoints(run.thread_id) if "migrated_from" in each]
    assert [each.get("run_id") for each in moves] == [None]
    new = await deploys.start(RENAMED, migrate=KEEP)
    values = await new.answer(again)
    assert values["log"] == ["in", "plan", "ask=yes", "act", "again", "plan"]
    assert values["name"] == "was None"


async def test_a_run_that_is_rolled_back_leaves_the_thread_moved_and_its_question_open(deploys: Deploys) -> None:
    old, run = await deploys.pause()
    await deploys.stop(old)
    gate = "import asyncio\nasync def hold(state):\n    await asyncio.sleep(3600)\n"
    held = f"{gate}graph = line(plan=step('plan'), ask=ask('ask'), hold=hold).compile()"
    new = await deploys.start(held, migrate=KEEP)
    holding = await new.engine.queue.create(
        new.ask_for("agent", thread_id=run.thread_id, kwargs={"command": {"resume": "yes"}})
    )
    await new.reach(holding, ".node_finished")
    strategy = MultitaskStrategy.ROLLBACK
    other = await new.engine.queue.create(
        new.ask_for("agent", thread_id=run.thread_id, kwargs={"input": None}, multitask_strategy=strategy)
    )
    values = await new.answer(other)
    assert values["log"] == ["in", "plan"]
    assert len(values["__interrupt__"]) == 1
    assert len([each for each in await deploys.checkpoints(run.thread_id) if "migrated_from" in each]) == 1


async def test_a_node_that_is_gone_from_a_subgraph_is_named_instead_of_skipped(deploys: Deploys) -> None:
    old, run = await deploys.pause(NESTED.format(name="ask"))
    await deploys.stop(old)
    new = await deploys.start(NESTED.format(name="question"))
    assert old.registry.stamp("agent")["topology_hash"] != new.registry.stamp("agent")["topology_hash"]
    again, answer = await resume(new, run)
    assert answer["__error__"]["error"] == "PendingNodesGone"
    assert "waits for 'ask' of sub:" in answer["__error__"]["message"]
    assert await new.status(again) == "error"


async def test_a_factory_has_the_version_of_the_graph_that_it_makes(deploys: Deploys) -> None:
    factory = "def graph():\n    return {}"
    old, run = await deploys.pause(factory.format(ASKING.removeprefix("graph = ")))
    assert old.registry.stamp("agent").items() <= (await deploys.checkpoints(run.thread_id))[-1].items()
    await deploys.stop(old)
    new = await deploys.start(factory.format(RENAMED.removeprefix("graph = ")))
    _, answer = await resume(new, run)
    assert answer["__error__"]["error"] == "PendingNodesGone"
    assert "node question is new" in answer["__error__"]["message"]


async def test_a_process_that_stops_takes_its_versions_away(deploys: Deploys) -> None:
    world = await deploys.start(ASKING)
    count = "select count(*) from process_graphs"
    assert await deploys.rows(count) == [(1,)]
    await deploys.stop(world)

    async def is_gone() -> bool:
        return await deploys.rows(count) == [(0,)]

    await eventually(is_gone)
    assert await deploys.rows("select graph_id from graph_versions") == [("agent",)]
