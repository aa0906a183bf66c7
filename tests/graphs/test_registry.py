"""Owns the checks of the registry: what it imports, what it hands out, and what one broken graph does to the others."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from threadline.graphs.assistant import graph as shipped
from threadline.graphs.configuration import load_configuration
from threadline.graphs.errors import GraphImportError, UnknownGraph
from threadline.graphs.loading import module_name
from threadline.graphs.registry import Registry, system_assistant_id
from threadline.tests.source import ROOT

NO_CONFIG = RunnableConfig()

COUNTING = """
from typing_extensions import TypedDict
from langgraph.graph import StateGraph

class State(TypedDict):
    count: int

def add_one(state: State) -> State:
    return {"count": state["count"] + 1}

builder = StateGraph(State).add_node("add_one", add_one).add_edge("__start__", "add_one")
graph = builder.compile()
"""


@pytest.fixture(autouse=True)
def _clean_interpreter(tmp_path: Path) -> Iterator[None]:
    """Projects come and go in this process; what they leave in the interpreter must not reach the next test."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def make_registry(folder: Path, files: Mapping[str, str], graphs: Mapping[str, object]) -> Registry:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    config = folder / "langgraph.json"
    config.write_text(json.dumps({"graphs": graphs, "dependencies": ["."]}))
    return Registry(load_configuration(config))


async def run(registry: Registry, graph_id: str, state: object, saver: InMemorySaver | None = None) -> object:
    opened = registry.open_graph(
        graph_id, checkpointer=saver, store=None, config=NO_CONFIG, context_kind="threads.create_run"
    )
    async with opened as graph:
        return await graph.ainvoke(state, {"configurable": {"thread_id": "1"}})


async def test_graphs_come_from_files_modules_and_uncompiled_builders(tmp_path: Path) -> None:
    registry = make_registry(
        tmp_path,
        {"counting.py": COUNTING},
        {
            "file": {"path": "./counting.py:graph", "description": "Counts."},
            "module": "counting:graph",
            "builder": "./counting.py:builder",
        },
    )
    assert registry.graph_ids == ("file", "module", "builder")
    assert registry.description("file") == "Counts."
    assert registry.description("module") is None
    assert registry.errors == {}
    for graph_id in registry.graph_ids:
        assert await run(registry, graph_id, {"count": 1}) == {"count": 2}


async def test_an_entrypoint_function_is_a_graph(tmp_path: Path) -> None:
    source = (
        "from langgraph.func import entrypoint\n\n@entrypoint()\nasync def twice(n: int) -> int:\n    return 2 * n\n"
    )
    registry = make_registry(tmp_path, {"functional.py": source}, {"twice": "./functional.py:twice"})
    assert await run(registry, "twice", 4) == 8


@pytest.mark.parametrize(
    ("source", "file", "line", "text"),
    [
        ("import json\nimport not_installed_anywhere\n", "broken.py", 2, "No module named 'not_installed_anywhere'"),
        ("def f(:\n", "broken.py", 1, "SyntaxError"),
        ("import helper\n", "helper.py", 3, "ZeroDivisionError"),
        ("import sys\n\nsys.exit(3)\n", "broken.py", 3, "SystemExit"),
        ("grph = 1\n", "broken.py", None, "no variable 'graph'; it has: grph"),
        ("graph = 'text'\n", "broken.py", None, "str is neither a graph nor a function"),
        ("from .state import State\n", "broken.py", 1, "package.module:graph"),
        ("\ndef graph(model, tools):\n    return None\n", "broken.py", 2, "'model'; it may take `config`, `runtime`"),
    ],
)
async def test_a_graph_that_fails_to_import_names_file_and_line_and_leaves_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str, file: str, line: int | None, text: str
) -> None:
    with caplog.at_level(logging.ERROR, logger="threadline.graphs"):
        registry = make_registry(
            tmp_path,
            {"broken.py": source, "helper.py": "x = 0\n\ny = 1 / x\n", "counting.py": COUNTING},
            {"broken": "./broken.py:graph", "whole": "./counting.py:graph"},
        )
    error = registry.errors["broken"]
    assert (error.graph_id, error.file, error.line) == ("broken", file, line)
    assert text in str(error)
    assert [record.message for record in caplog.records] == ["graph.import_failed"]
    with pytest.raises(GraphImportError) as raised:
        await run(registry, "broken", {})
    assert raised.value is error
    assert registry.graph_ids == ("broken", "whole")
    assert await run(registry, "whole", {"count": 1}) == {"count": 2}


def test_a_missing_file_and_a_graph_in_another_language_concern_only_themselves(tmp_path: Path) -> None:
    registry = make_registry(
        tmp_path,
        {"agent.ts": "export const graph = 1\n", "counting.py": COUNTING},
        {
            "absent": "./absent.py:graph",
            "script": "./agent.ts:graph",
            "whole": "counting:graph",
            "gone": "gone.x:graph",
        },
    )
    assert set(registry.errors) == {"absent", "script", "gone"}
    assert "absent.py: the file does not exist" in str(registry.errors["absent"])
    assert "only Python graphs run here" in str(registry.errors["script"])
    assert "No module named 'gone'" in str(registry.errors["gone"])


def test_an_unknown_graph_is_told_which_graphs_exist(tmp_path: Path) -> None:
    registry = make_registry(tmp_path, {"counting.py": COUNTING}, {"a": "./counting.py:graph", "b": "counting:graph"})
    with pytest.raises(UnknownGraph, match=r"'nope'; langgraph\.json has: a, b"):
        registry.open_graph("nope", checkpointer=None, store=None, config=NO_CONFIG, context_kind="threads.create_run")
    with pytest.raises(UnknownGraph):
        registry.description("nope")
    with pytest.raises(UnknownGraph):
        registry.schema_allowlist("nope")


async def test_opening_a_graph_binds_a_copy_and_leaves_the_original(tmp_path: Path) -> None:
    source = COUNTING + (
        "\nfrom langgraph.checkpoint.memory import InMemorySaver\n"
        "own_saver = InMemorySaver()\nsaved = builder.compile(checkpointer=own_saver, name='own name')\n"
    )
    registry = make_registry(tmp_path, {"counting.py": source}, {"plain": "counting:graph", "saved": "counting:saved"})
    original = sys.modules["counting"].saved
    before = dict(vars(original))
    saver, store = InMemorySaver(), InMemoryStore()
    async with registry.open_graph(
        "saved", checkpointer=saver, store=store, config=NO_CONFIG, context_kind="threads.create_run"
    ) as graph:
        assert (graph.checkpointer, graph.store, graph.name) == (saver, store, "own name")
        await graph.ainvoke({"count": 1}, {"configurable": {"thread_id": "1"}})
    assert vars(original) == before
    assert saver.storage
    assert not original.checkpointer.storage
    async with registry.open_graph(
        "plain", checkpointer=None, store=None, config=NO_CONFIG, context_kind="threads.create_run"
    ) as graph:
        assert graph.name == "plain"


WITH_USER = """
from counting import builder

def make(runtime):
    seen.append(runtime.user)
    return builder

seen = []
"""


async def test_a_factory_is_told_the_user_who_asks(tmp_path: Path) -> None:
    files = {"counting.py": COUNTING, "with_user.py": WITH_USER}
    registry = make_registry(tmp_path, files, {"made": "with_user:make"})
    config = RunnableConfig(configurable={"langgraph_auth_user": "from the config"})
    users: list[Any] = [None, "as given"]
    for user in users:
        async with registry.open_graph(
            "made", checkpointer=None, store=None, config=config, context_kind="threads.read", user=user
        ) as graph:
            assert graph.name == "made"
    assert sys.modules["with_user"].seen == ["from the config", "as given"]


def test_opening_a_compiled_graph_costs_next_to_nothing(tmp_path: Path) -> None:
    registry = make_registry(tmp_path, {"counting.py": COUNTING}, {"counting": "./counting.py:graph"})
    saver = InMemorySaver()

    def open_once() -> None:
        registry.open_graph(
            "counting", checkpointer=saver, store=None, config=NO_CONFIG, context_kind="threads.create_run"
        )

    open_once()
    calls = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        open_once()
    finally:
        sys.setprofile(None)
    # Compiling the graph anew takes thousands. Counted, not timed: a machine that others use, too, has no times.
    assert 0 < calls < 60


async def test_two_files_of_one_name_in_two_projects_are_two_modules(tmp_path: Path) -> None:
    other = COUNTING.replace("+ 1", "+ 10")
    first = make_registry(tmp_path / "first", {"counting.py": COUNTING}, {"counting": "./counting.py:graph"})
    second = make_registry(tmp_path / "second", {"counting.py": other}, {"counting": "./counting.py:graph"})
    assert await run(first, "counting", {"count": 1}) == {"count": 2}
    assert await run(second, "counting", {"count": 1}) == {"count": 11}


def test_a_graph_file_of_our_own_package_is_not_imported_twice() -> None:
    registry = Registry(load_configuration(ROOT / "langgraph.json"))
    assert registry._graphs["assistant"] is shipped.graph
    assert not [name for name in sys.modules if name.startswith("graph_graphs_assistant")]
    assert str(ROOT) not in sys.path


def test_system_assistants_have_the_ids_of_the_official_server() -> None:
    assert system_assistant_id("agent") == UUID("fe096781-5601-53d2-b2f6-0d3403f7e9ca")


FOREIGN = {
    "settings.py": "NAME = 'theirs'\n",
    "api/client.py": "from settings import NAME\n\ndef fetch() -> str:\n    return f'fetched by {NAME}'\n",
    "runs/__init__.py": "",
    "graphs/state.py": (
        "from dataclasses import dataclass\nfrom typing_extensions import TypedDict\n\n"
        "@dataclass\nclass Answer:\n    text: str\n\nclass State(TypedDict):\n    answer: Answer\n"
    ),
    "graphs/agent.py": (
        "import settings\nfrom api.client import fetch\nfrom graphs.state import Answer, State\n"
        "from langgraph.graph import StateGraph\n\n"
        "def answer(state: State) -> State:\n    return {'answer': Answer(f'{settings.NAME}: {fetch()}')}\n\n"
        "graph = StateGraph(State).add_node('answer', answer).add_edge('__start__', 'answer').compile()\n"
    ),
}
SERVE = """
import asyncio, json, sys
from pathlib import Path
from langgraph.checkpoint.memory import InMemorySaver
from threadline.graphs.configuration import load_configuration
from threadline.graphs.registry import Registry

async def main():
    registry = Registry(load_configuration(Path(sys.argv[1])))
    for error in registry.errors.values():
        raise error
    opened = registry.open_graph("agent", checkpointer=InMemorySaver(), store=None, config={},
                                 context_kind="threads.create_run")
    async with opened as graph:
        values = await graph.ainvoke({}, {"configurable": {"thread_id": "1"}})
    import graphs.state, settings, threadline.graphs, threadline.settings
    print(json.dumps({
        "answer": values["answer"].text,
        "settings": settings.__file__,
        "graphs": graphs.state.__file__,
        "ours": threadline.settings.__file__,
        "allowlist": sorted(registry.schema_allowlist("agent")),
    }))

asyncio.run(main())
"""


def test_a_project_with_our_folder_names_keeps_its_own_modules(tmp_path: Path) -> None:
    for name, text in FOREIGN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    config = tmp_path / "langgraph.json"
    config.write_text(json.dumps({"graphs": {"agent": "./graphs/agent.py:graph"}, "dependencies": ["."]}))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "settings.py").write_text("NAME = 'a stranger'")
    # The worst place to start from: our own root as the working directory, and a stranger on the path.
    served = subprocess.run(
        [sys.executable, "-W", "error", "-c", SERVE, str(config)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert served.returncode == 0, served.stderr
    told = json.loads(served.stdout)
    assert told["answer"] == "theirs: fetched by theirs"
    assert told["settings"] == str(tmp_path / "settings.py")
    assert told["graphs"] == str(tmp_path / "graphs" / "state.py")
    assert told["ours"] == str(ROOT / "settings.py")
    assert ["graphs.state", "Answer"] in told["allowlist"]


def test_the_names_of_graph_files_do_not_depend_on_where_the_project_lies(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert module_name(here / "agents" / "chat.py", here) == module_name(there / "agents" / "chat.py", there)
    assert module_name(here.parent / "shared.py", here) == module_name(there.parent / "shared.py", there)
    assert module_name(here / "a_b.py", here) != module_name(here / "a" / "b.py", here)
