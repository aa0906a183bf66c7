"""What an effect promises: one that is finished is not repeated, and one that is not has the key it had before."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from psycopg import AsyncConnection

from threadline.checkpoints.pool import Database
from threadline.effects import EffectError, aeffect, effect, effect_key
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry
from threadline.runs.model import CancelAction, Run, TtlStrategy
from threadline.runs.sweep import Sweep
from threadline.tests.laboratory.locks import until, until_blocked
from threadline.tests.runs import effect_graphs
from threadline.tests.runs.life_world import World, open_world

GRAPHS = Path(effect_graphs.__file__)
NAMES = (
    *("retrying", "retrying_in_a_thread", "holding", "slow", "asking", "nested", "broken", "looping", "repeating"),
    *("giving", "too_much", "odd", "blocking", "forgetful", "looking", "badly_named", "kept_nowhere", "functional"),
    *("own_loop", "tools"),
)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    file = tmp_path / "langgraph.json"
    file.write_text(json.dumps({"dependencies": ["."], "graphs": {name: f"{GRAPHS}:{name}" for name in NAMES}}))
    return Registry(load_configuration(file))


class Effects:
    """The world that effects happen to, and an engine that carries them out."""

    def __init__(self, world: World, folder: Path, dsn: str) -> None:
        self.world = world
        self.folder = folder
        self.dsn = dsn

    async def start(self, graph: str, **changes: Any) -> Run:
        has_input = not {"command", "checkpoint_id"} & set(changes.get("kwargs", {}))
        given = {"folder": str(self.folder), "dsn": self.dsn, "log": []} if has_input else None
        return await self.world.engine.queue.create(self.world.ask_for(graph, given, **changes))

    async def play(self, graph: str, **changes: Any) -> Any:
        return await self.world.answer(await self.start(graph, **changes))

    async def resume(self, graph: str, thread_id: UUID, answer: Any) -> Any:
        kwargs = {"command": {"resume": answer}}
        return await self.play(graph, thread_id=thread_id, kwargs=kwargs)

    def happened(self) -> Counter[str]:
        file = self.folder / "world"
        return Counter(file.read_text().splitlines() if file.exists() else [])

    async def until_happened(self, text: str, times: int = 1) -> None:
        await until(lambda: self.happened()[text] >= times, f"{text} {times} times")

    def open_gate(self) -> None:
        (self.folder / "open").touch()

    def rows(self, thread_id: UUID | None = None) -> list[tuple[str, str]]:
        with psycopg.connect(self.dsn) as connection:
            statement = "select name, checkpoint_ns from effects where %(id)s::uuid is null or thread_id = %(id)s"
            return sorted(connection.execute(statement.encode(), {"id": thread_id}).fetchall())


@pytest.fixture
async def effects(database: Database, registry: Registry, tmp_path: Path, dsn: str) -> AsyncIterator[Effects]:
    async with open_world(database, registry) as world:
        yield Effects(world, tmp_path, dsn)


def lose_worker_of(dsn: str, run: Run) -> None:
    """Let the run belong to a process that died in this moment."""
    with psycopg.connect(dsn) as connection:
        connection.execute("update runs set process_id = %s where run_id = %s", [uuid4(), run.run_id])
        connection.execute("update thread_heads set epoch = epoch + 1 where thread_id = %s", [run.thread_id])


@pytest.mark.parametrize("graph", ["retrying", "retrying_in_a_thread"])
async def test_a_node_that_is_retried_repeats_no_finished_effect(effects: Effects, graph: str) -> None:
    answer = await effects.play(graph)
    assert answer["log"] == ["book 1", "charge 1"]
    assert effects.happened() == {"book": 1, "charge": 1, "tried": 3}


async def test_a_run_that_is_taken_over_repeats_no_finished_effect(effects: Effects) -> None:
    run = await effects.start("holding")
    await effects.until_happened("holding")
    lose_worker_of(effects.dsn, run)
    await effects.until_happened("holding", 2)
    effects.open_gate()
    [booked] = (await effects.world.answer(run))["log"]
    assert booked.startswith("booked under ")
    assert effects.happened()[booked.removesuffix(" 1")] == 1


async def test_a_result_that_comes_too_late_is_refused_and_had_in_again_under_the_same_key(effects: Effects) -> None:
    """The effect has happened, and its result waits for the head, which is held until the run is another's."""
    run = await effects.start("slow")
    await effects.until_happened("booking")
    async with await AsyncConnection.connect(effects.dsn) as taker:
        await taker.execute("update runs set process_id = %s where run_id = %s", [uuid4(), run.run_id])
        await taker.execute("update thread_heads set epoch = epoch + 1 where thread_id = %s", [run.thread_id])
        effects.open_gate()
        await until(lambda: any(text.startswith("booked") for text in effects.happened()), "the effect happens")
        await until_blocked(taker, "threadline/pool")
    [booked] = (await effects.world.answer(run))["log"]
    assert booked.startswith("booked under ")
    assert booked.endswith(" 2")
    assert effects.happened() == {"booking": 2, booked.removesuffix(" 2"): 2}
    assert effects.rows(run.thread_id) == [("book", "")]


async def test_an_answered_question_repeats_no_effect_before_it(effects: Effects) -> None:
    run = await effects.start("asking")
    assert "__interrupt__" in await effects.world.answer(run)
    assert effects.happened() == {"before": 1}
    answer = await effects.resume("asking", run.thread_id, "yes")
    assert answer["log"] == ["before 1", "yes", "after 1"]
    assert effects.happened() == {"before": 1, "after": 1}
    assert effects.rows(run.thread_id) == [("after yes", ""), ("before", "")]


async def test_an_effect_of_a_subgraph_is_not_repeated_either(effects: Effects) -> None:
    run = await effects.start("nested")
    await effects.world.answer(run)
    answer = await effects.resume("nested", run.thread_id, "yes")
    assert answer["log"] == ["before 1", "yes", "after 1"]
    namespaces = {ns.partition(":")[0] for _, ns in effects.rows(run.thread_id)}
    assert namespaces == {"inner"}


async def test_tasks_of_the_functional_api_have_effects_of_their_own(effects: Effects) -> None:
    run = await effects.start("functional")
    await effects.world.answer(run)
    assert await effects.resume("functional", run.thread_id, "yes") == [f"booked {n} 1" for n in range(3)] + ["yes"]
    assert effects.happened() == {f"booked {n}": 1 for n in range(3)}


async def test_calls_of_tools_have_effects_of_their_own(effects: Effects) -> None:
    answer = await effects.play("tools")
    assert answer["log"] == ["paid 1 1", "paid 2 1", "shipped a 1", "shipped b 1"]
    assert effects.happened().pop("tried") == 2


async def test_a_loop_of_the_authors_own_has_effects_too(effects: Effects) -> None:
    run = await effects.start("own_loop")
    assert (await effects.world.answer(run))["log"] == ["book 1", "charge 1", "receipt 1"]
    assert [name for name, _ in effects.rows(run.thread_id)] == ["book", "charge", "receipt"]


async def test_an_effect_that_fails_is_not_kept_and_may_be_tried_again(effects: Effects) -> None:
    assert (await effects.play("broken"))["log"] == ["done"]
    assert effects.happened() == {"tried": 2}


async def test_effects_of_a_loop_are_told_apart_by_their_names(effects: Effects) -> None:
    answer = await effects.play("looping")
    assert sorted(answer["log"]) == [f"{what} {n} 1" for what in ("beside", "round") for n in range(3)]


async def test_one_name_for_two_effects_of_a_task_is_an_error(effects: Effects) -> None:
    error = (await effects.play("repeating"))["__error__"]
    assert error["error"] == "EffectError"
    assert error["message"].startswith("effect 'book' is asked for twice by one task")
    assert effects.happened() == {"booked": 1}


async def test_a_node_is_given_what_a_later_execution_would_be_given(effects: Effects) -> None:
    given = (await effects.play("giving"))["log"]
    assert given == ["None", "0", "'ä'", repr([1, {"a": b"\0"}]), "[1, 2]", "{3}"]  # a tuple is kept as a list


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        ("too_much", "effect 'much' is done, but its result of 2000005 bytes cannot be kept: at most 1048576 can"),
        ("odd", "effect 'odd' is done, but its result cannot be kept: "),
    ],
)
async def test_a_result_that_cannot_be_kept_is_an_error_that_says_so(effects: Effects, graph: str, text: str) -> None:
    error = (await effects.play(graph))["__error__"]
    assert error["error"] == "EffectError"
    assert error["message"].startswith(text)
    assert sum(effects.happened().values()) == 1
    assert effects.rows() == []


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        ("blocking", "effect() would block the event loop here: await aeffect() in a coroutine"),
        ("forgetful", "effect 'forget': the function returned an awaitable; await aeffect() instead of effect()"),
        ("kept_nowhere", "effect 'book' cannot be kept: its graph keeps no checkpoints with this server"),
    ],
)
async def test_an_effect_in_the_wrong_place_is_an_error_and_does_not_happen(
    effects: Effects, graph: str, text: str
) -> None:
    error = (await effects.play(graph))["__error__"]
    assert error["error"] == "EffectError"
    assert error["message"].startswith(text)
    assert effects.happened() == {}


async def test_a_run_without_checkpoints_on_its_way_has_no_effects(effects: Effects) -> None:
    error = (await effects.play("looping", kwargs={"durability": "exit"}))["__error__"]
    assert error["message"].startswith("effect 'round-0' cannot be kept: the run has durability 'exit'")
    assert effects.happened() == {}


async def test_what_is_no_name_is_refused(effects: Effects) -> None:
    answer = await effects.play("badly_named")
    assert answer["log"] == ["the name of an effect must be 1 to 200 printable characters"] * 5
    assert effects.happened() == {}


@pytest.mark.parametrize("durability", ["async", "sync"])
async def test_a_task_can_be_run_again_before_its_effect_happens(effects: Effects, durability: str) -> None:
    assert (await effects.play("looking", kwargs={"durability": durability}))["log"] == [1, 1]


async def test_a_rolled_back_run_takes_its_effects_along_and_no_others(effects: Effects) -> None:
    asked = await effects.start("asking")
    await effects.world.answer(asked)
    held = await effects.start("holding", thread_id=asked.thread_id)
    await effects.until_happened("holding")
    assert [name for name, _ in effects.rows(asked.thread_id)] == ["before", "book"]
    await effects.world.engine.queue.cancel(held.thread_id, held.run_id, CancelAction.ROLLBACK)
    await effects.world.answer(held)
    assert [name for name, _ in effects.rows(asked.thread_id)] == ["before"]
    answer = await effects.resume("asking", asked.thread_id, "yes")
    assert answer["log"] == ["before 1", "yes", "after 1"]


async def test_effects_go_with_their_thread(effects: Effects) -> None:
    deleted, pruned, swept = [await effects.start("asking") for _ in range(3)]
    for run in (deleted, pruned, swept):
        await effects.world.answer(run)
    await effects.world.engine.threads.delete(deleted.thread_id)
    await effects.world.engine.retention.prune([pruned.thread_id], TtlStrategy.DELETE)
    with psycopg.connect(effects.dsn) as connection:
        past = "update threads set hidden = true, expires_at = clock_timestamp() where thread_id = %s"
        connection.execute(past, [swept.thread_id])
    await Sweep(effects.world.engine.pool).sweep()
    assert effects.rows() == []


async def test_a_pruned_thread_keeps_the_effects_of_open_questions(effects: Effects) -> None:
    asked = await effects.start("asking")
    await effects.world.answer(asked)
    retention = effects.world.engine.retention
    await retention.prune([asked.thread_id], TtlStrategy.KEEP_LATEST)
    assert [name for name, _ in effects.rows(asked.thread_id)] == ["before"]
    await effects.resume("asking", asked.thread_id, "yes")
    await retention.prune([asked.thread_id], TtlStrategy.KEEP_LATEST)
    assert effects.rows(asked.thread_id) == []
    assert effects.happened() == {"before": 1, "after": 1}


async def test_a_copy_of_a_thread_has_effects_of_its_own(effects: Effects) -> None:
    asked = await effects.start("asking")
    await effects.world.answer(asked)
    copy = await effects.world.engine.threads.copy(asked.thread_id)
    answer = await effects.resume("asking", copy.thread_id, "yes")
    assert answer["log"] == ["before 2", "yes", "after 1"]


async def test_a_run_that_goes_back_on_purpose_has_its_effects_again(effects: Effects) -> None:
    first = await effects.start("looping")
    await effects.world.answer(first)
    history = await effects.world.engine.states.history(first.thread_id)
    [before] = [state for state in history if state["next"] == ["node"] or state["next"] == ("node",)]
    checkpoint = {"checkpoint_id": before["checkpoint"]["checkpoint_id"]}
    answer = await effects.play("looping", thread_id=first.thread_id, kwargs=checkpoint)
    assert sorted(answer["log"])[0] == "beside 0 2"


def in_memory(node: Any) -> Any:
    graph = StateGraph(effect_graphs.State).add_node("node", node).add_edge(START, "node")
    return graph.compile(checkpointer=InMemorySaver())


def test_outside_of_the_server_a_function_is_called_and_that_is_all(tmp_path: Path) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    plain = in_memory(effect_graphs.retry_in_a_thread)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="again"):
            plain.invoke({"folder": str(tmp_path)}, config)
    assert plain.invoke({"folder": str(tmp_path)}, config)["log"] == ["book 3", "charge 3"]
    assert effect("anywhere", lambda: 7) == 7
    assert effect_key("anywhere") != effect_key("anywhere")
    with pytest.raises(EffectError, match="the name of an effect"):
        effect("", lambda: 7)


async def test_outside_of_the_server_a_coroutine_is_awaited_and_that_is_all(tmp_path: Path) -> None:
    plain = in_memory(effect_graphs.ask)
    config: Any = {"configurable": {"thread_id": "t"}}
    await plain.ainvoke({"folder": str(tmp_path)}, config)
    answer = await plain.ainvoke(Command(resume="yes"), config)
    assert answer["log"] == ["before 2", "yes", "after 1"]
    assert await aeffect("anywhere", lambda: 7) == 7
    assert await aeffect("anywhere", lambda: asyncio.sleep(0, 7)) == 7
