"""Owns the proof that every graph has its assistant and that a request's words find the one it means."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from threadline.checkpoints.pool import Pool
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry, system_assistant_id
from threadline.runs.assistants import Assistants
from threadline.runs.errors import AssistantNotFound, Invalid, NotFound, UnknownGraph
from threadline.runs.model import Assistant, JsonObject

GRAPH = """
from langgraph.graph import StateGraph
graph = StateGraph(dict).add_node("only", lambda state: state).set_entry_point("only").compile()
"""
Serve = Callable[[Mapping[str, Any]], Registry]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve a project with these graphs, all defined in one file."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "assistant_graphs.py").write_text(GRAPH)

    def make(graphs: Mapping[str, Any]) -> Registry:
        file = tmp_path / "langgraph.json"
        file.write_text(json.dumps({"graphs": graphs}))
        return Registry(load_configuration(file))

    return make


@pytest.fixture
def registry(serve: Serve) -> Registry:
    described = {"path": "./assistant_graphs.py:graph", "description": "Writes reports"}
    return serve({"agent": "./assistant_graphs.py:graph", "writer": described, "broken": "./missing.py:graph"})


@pytest.fixture
async def assistants(pool: Pool, registry: Registry) -> Assistants:
    made = Assistants(pool, registry)
    await made.sync_system()
    return made


async def add(pool: Pool, name: str, graph_id: str = "agent", metadata: JsonObject | None = None) -> UUID:
    """Put an assistant there as somebody else would."""
    assistant_id = uuid4()
    async with pool.connection() as connection:
        await connection.execute(
            "insert into assistants (assistant_id, graph_id, name, metadata) values (%s, %s, %s, %s)",
            (assistant_id, graph_id, name, json.dumps(metadata or {})),
        )
    return assistant_id


async def execute(pool: Pool, statement: str, *parameters: Any) -> None:
    async with pool.connection() as connection:
        await connection.execute(statement.encode(), parameters)


def names(found: list[Assistant]) -> list[str]:
    return [assistant.name for assistant in found]


async def test_every_graph_that_could_be_imported_has_an_assistant(assistants: Assistants) -> None:
    writer = await assistants.get("writer")

    assert names(await assistants.search(sort_by="name", sort_order="asc")) == ["agent", "writer"]
    assert writer.assistant_id == system_assistant_id("writer")
    assert (writer.graph_id, writer.name, writer.description) == ("writer", "writer", "Writes reports")
    assert (writer.metadata, writer.config, writer.context) == ({"created_by": "system"}, {}, {})
    assert writer.version == 1


async def test_processes_that_start_together_agree_on_the_assistants(pool: Pool, registry: Registry) -> None:
    processes = [Assistants(pool, registry) for _ in range(8)]

    await asyncio.gather(*(process.sync_system() for process in processes))

    assert len({(await process.get("agent")).created_at for process in processes}) == 1
    assert await processes[0].count() == 2


async def test_a_restart_takes_a_new_description_and_keeps_what_people_changed(
    assistants: Assistants, pool: Pool, serve: Serve
) -> None:
    before = await assistants.get("writer")
    await execute(pool, """update assistants set config = '{"tags": ["x"]}' where name = 'writer'""")
    described = {"path": "./assistant_graphs.py:graph", "description": "Writes letters"}

    restarted = Assistants(pool, serve({"writer": described}))
    await restarted.sync_system()

    after = await restarted.get("writer")
    assert (after.description, after.config) == ("Writes letters", {"tags": ["x"]})
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at


async def test_a_restart_without_changes_touches_nothing(assistants: Assistants) -> None:
    before = await assistants.search()
    await assistants.sync_system()
    assert await assistants.search() == before


async def test_a_system_assistant_costs_no_query(assistants: Assistants, pool: Pool) -> None:
    await pool.close()

    by_name = await assistants.get("agent")

    assert await assistants.get(by_name.assistant_id) == by_name
    assert await assistants.get(str(by_name.assistant_id)) == by_name


async def test_an_assistant_is_found_by_its_id_and_is_never_stale(assistants: Assistants, pool: Pool) -> None:
    assistant_id = await add(pool, "mine")
    assert (await assistants.get(assistant_id)).name == "mine"

    await execute(pool, "update assistants set version = 2 where name = 'mine'")

    assert (await assistants.get(str(assistant_id))).version == 2


async def test_an_unknown_id_is_not_found(assistants: Assistants) -> None:
    unknown = uuid4()
    with pytest.raises(AssistantNotFound, match=f"Assistant '{unknown}' not found"):
        await assistants.get(unknown)


async def test_a_name_that_is_no_graph_is_answered_with_the_graphs(assistants: Assistants) -> None:
    with pytest.raises(UnknownGraph) as refused:
        await assistants.get("nope")
    assert str(refused.value) == (
        "Invalid assistant: 'nope'. Must be either:\n- A valid assistant UUID, or\n"
        "- One of the registered graphs: agent, writer"
    )


async def test_a_graph_that_failed_to_import_says_where(assistants: Assistants) -> None:
    with pytest.raises(UnknownGraph, match=r"'broken' could not be imported: missing\.py"):
        await assistants.get("broken")


async def test_a_search_filters_by_graph_metadata_and_part_of_the_name(assistants: Assistants, pool: Pool) -> None:
    await add(pool, "Ann's Own", metadata={"team": {"id": 1}})
    await add(pool, "100%", "writer", {"team": {"id": 2}})

    assert names(await assistants.search(name="OWN")) == ["Ann's Own"]
    assert names(await assistants.search(name="%")) == ["100%"]
    assert names(await assistants.search(metadata={"team": {"id": 2}})) == ["100%"]
    assert names(await assistants.search(graph_id="writer")) == ["100%", "writer"]
    assert names(await assistants.search(graph_id="writer", metadata={"created_by": "system"})) == ["writer"]
    assert await assistants.search(graph_id="broken") == []
    assert await assistants.count() == 4
    assert await assistants.count(graph_id="writer", name="w") == 1
    with pytest.raises(NotFound, match="Graph 'nope' not found"):
        await assistants.search(graph_id="nope")


async def test_a_search_sorts_and_pages(assistants: Assistants, pool: Pool) -> None:
    for name in ("b", "a"):
        await add(pool, name)

    assert names(await assistants.search(limit=2)) == ["a", "b"]
    assert names(await assistants.search(sort_by="name", sort_order="asc")) == ["a", "agent", "b", "writer"]
    assert names(await assistants.search(sort_by="name", limit=2, offset=1)) == ["b", "agent"]
    by_id = await assistants.search(sort_by="assistant_id", sort_order="asc")
    assert by_id == sorted(by_id, key=lambda assistant: assistant.assistant_id)
    assert await assistants.search(sort_by="assistant_id", sort_order="desc") == by_id[::-1]
    for order in ("created_at", "updated_at", "graph_id"):
        found = await assistants.search(sort_by=order, sort_order="asc")
        assert found == sorted(found, key=lambda assistant: (getattr(assistant, order), assistant.assistant_id))


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1002}, {"offset": -1}, {"name": "a\x00"}])
async def test_a_search_refuses_what_it_cannot_look_for(assistants: Assistants, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=next(iter(wrong))):
        await assistants.search(**wrong)


async def test_system_assistants_of_graphs_served_elsewhere_are_left_out(
    assistants: Assistants, pool: Pool, serve: Serve
) -> None:
    await add(pool, "mine", "writer")
    renamed = Assistants(pool, serve({"author": "./assistant_graphs.py:graph"}))
    await renamed.sync_system()

    assert sorted(names(await renamed.search())) == ["author", "mine"]
    assert await renamed.count() == 2
    assert sorted(names(await assistants.search())) == ["agent", "mine", "writer"]


async def test_a_process_soon_sees_what_another_changed(
    pool: Pool, registry: Registry, assistants: Assistants, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Assistants(pool, registry)
    await other.sync_system()
    changed = await other.patch("agent", {"context": {"a": 1}})
    assert await other.get("agent") == changed
    assert (await assistants.get("agent")).version == 1
    monkeypatch.setattr("threadline.runs.assistants.FRESH", 0.0)
    assert await assistants.get("agent") == changed


async def test_changes_at_the_same_time_are_versions_one_by_one(assistants: Assistants) -> None:
    made = await assistants.create("agent")
    changes = [assistants.patch(made.assistant_id, {"metadata": {str(n): n}}) for n in range(10)]
    assert sorted(changed.version for changed in await asyncio.gather(*changes)) == list(range(2, 12))
    assert (await assistants.get(made.assistant_id)).metadata == {str(n): n for n in range(10)}


async def test_a_restart_leaves_changed_system_assistants_alone(
    pool: Pool, registry: Registry, assistants: Assistants
) -> None:
    changed = await assistants.patch("agent", {"context": {"a": 1}, "metadata": {"mine": 1}})
    restarted = Assistants(pool, registry)
    await restarted.sync_system()
    assert await restarted.get("agent") == changed
    assert [each.version for each in await restarted.versions("agent")] == [2, 1]
