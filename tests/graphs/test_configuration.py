"""Owns the checks of langgraph.json: what is read, what is refused, and how a refusal tells what to write instead."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from threadline.graphs.configuration import Configuration, load_configuration
from threadline.graphs.errors import ConfigurationError
from threadline.tests.source import ROOT


def load(folder: Path, content: object) -> Configuration:
    path = folder / "langgraph.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_configuration(path)


GRAPHS = {"agent": "./agent.py:graph"}
PINNED = {"on_version_change": "pinned", "migrate": None}


def test_a_graph_is_a_file_a_module_or_an_object_with_a_description(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        {
            "graphs": {
                "file": "./agents/chat.py:graph",
                "bare_file": "chat.py:graph",
                "module": "agents.chat:make",
                "described": {"path": "./chat.py:graph", "description": "Talks."},
            }
        },
    )
    graphs = configuration.graphs
    assert tuple(graphs) == ("file", "bare_file", "module", "described")
    assert (graphs["file"].file, graphs["file"].variable) == (tmp_path / "agents" / "chat.py", "graph")
    assert graphs["bare_file"].file == tmp_path / "chat.py"
    assert (graphs["module"].module, graphs["module"].file) == ("agents.chat", None)
    assert graphs["described"].description == "Talks."


def test_a_graph_says_what_becomes_of_its_threads_when_it_changes(tmp_path: Path) -> None:
    moves = {"path": "./a.py:graph", "on_version_change": "migrate", "migrate": "./moves.py:move"}
    graphs = load(tmp_path, {"graphs": {"moving": moves, "pinned": moves | PINNED, **GRAPHS}}).graphs
    assert [str(graph.on_version_change) for graph in graphs.values()] == ["migrate", "pinned", "latest"]
    assert graphs["moving"].migrate is not None
    assert (graphs["moving"].migrate.file, graphs["moving"].migrate.variable) == (tmp_path / "moves.py", "move")
    assert graphs["pinned"].migrate is None


@pytest.mark.parametrize(
    ("keys", "key", "told"),
    [
        ({"on_version_change": "newest"}, "graphs.agent.on_version_change", "must be one of latest, pinned, migrate"),
        ({"on_version_change": "migrate"}, "graphs.agent.migrate", 'if `on_version_change` is "migrate"'),
        ({"migrate": "./moves.py:move"}, "graphs.agent.migrate", 'if `on_version_change` is "migrate"'),
        ({"on_version_change": "migrate", "migrate": "moves"}, "graphs.agent.migrate", "must name a variable"),
    ],
)
def test_a_policy_that_means_nothing_is_refused_by_its_key(
    tmp_path: Path, keys: dict[str, str], key: str, told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, {"graphs": {"agent": {"path": "./a.py:graph", **keys}}})
    assert caught.value.key == key
    assert told in caught.value.problem


def test_env_is_an_object_or_a_file_and_is_not_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLOUR", raising=False)
    (tmp_path / "project.env").write_text('COLOUR="deep blue"\nBROKEN\n')
    assert load(tmp_path, {"graphs": GRAPHS, "env": {"COLOUR": "red"}}).env == {"COLOUR": "red"}
    assert load(tmp_path, {"graphs": GRAPHS, "env": "project.env"}).env == {"COLOUR": "deep blue"}
    assert load(tmp_path, {"graphs": GRAPHS}).env == {}
    assert "COLOUR" not in os.environ


def test_dependencies_are_folders_beside_the_file_or_requirements(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    configuration = load(tmp_path, {"graphs": GRAPHS, "dependencies": [".", "./package", "langchain_openai"]})
    assert configuration.folders == (tmp_path, tmp_path / "package")
    assert configuration.requirements == ("langchain_openai",)


def test_keys_are_told_apart_by_who_acts_on_them(tmp_path: Path) -> None:
    configuration = load(
        tmp_path,
        {
            "$schema": "https://example.org/schema.json",
            "graphs": GRAPHS,
            "python_version": "3.12",
            "auth": {"path": "./auth.py:auth"},
            "ui": {"agent": "./agent.tsx"},
            "grphs": {},
        },
    )
    assert dict(configuration.sections) == {"auth": {"path": "./auth.py:auth"}, "ui": {"agent": "./agent.tsx"}}
    assert [(notice.key, notice.is_known) for notice in configuration.notices] == [("ui", True), ("grphs", False)]


@pytest.mark.parametrize(
    ("content", "key", "instead"),
    [
        ("{", "", "not valid JSON"),
        ([], "", "must be a JSON object"),
        ({}, "graphs", "./agent.py:graph"),
        ({"graphs": {"agent": 5}}, "graphs.agent", "./file.py:variable"),
        ({"graphs": {"agent": {"description": "x"}}}, "graphs.agent.path", "./file.py:variable"),
        ({"graphs": {"agent": "./agent.py"}}, "graphs.agent", "package.module:graph"),
        ({"graphs": {"agent": "./agent.py:not a name"}}, "graphs.agent", "must name a variable"),
        ({"graphs": {"agent": {"path": "./a.py:g", "description": 1}}}, "graphs.agent.description", "a string"),
        ({"graphs": {" ": "./a.py:g"}}, "graphs. ", "needs a name"),
        ({"graphs": {"fe096781-5601-53d2-b2f6-0d3403f7e9ca": "./a.py:g"}}, "graphs.fe", "another name"),
        ({"graphs": GRAPHS, "env": ".env"}, "env", "create it or leave `env` out"),
        ({"graphs": GRAPHS, "env": {"PORT": 1}}, "env.PORT", 'e.g. "1"'),
        ({"graphs": GRAPHS, "env": 3}, "env", "object of strings"),
        ({"graphs": GRAPHS, "dependencies": "."}, "dependencies", '["."]'),
        ({"graphs": GRAPHS, "dependencies": ["./absent"]}, "dependencies", "not a folder"),
    ],
)
def test_a_refusal_names_the_file_the_key_and_what_instead(
    tmp_path: Path, content: Any, key: str, instead: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load(tmp_path, content)
    assert str(refusal.value).startswith(str(tmp_path / "langgraph.json"))
    assert refusal.value.key.startswith(key)
    assert instead in str(refusal.value)


def test_a_missing_file_is_named_as_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_configuration(tmp_path / "langgraph.json")


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    configuration = load(tmp_path, {"graphs": GRAPHS})
    with pytest.raises(TypeError):
        configuration.graphs["other"] = configuration.graphs["agent"]  # type: ignore[index]  # it must refuse this


def test_the_shipped_file_names_the_assistant_and_needs_no_env() -> None:
    configuration = load_configuration(ROOT / "langgraph.json")
    assert tuple(configuration.graphs) == ("assistant",)
    assert configuration.folders == (ROOT,)
    assert configuration.notices == ()
