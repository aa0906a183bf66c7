"""Owns langgraph.json: which keys it may have, their checks, and the paths in it.

Importing the graphs it names is left to `registry`; what the run-time sections mean (`auth`, `http`,
`store`, ...) is left to whoever acts on them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

from dotenv import dotenv_values

from threadline.graphs.errors import ConfigurationError
from threadline.graphs.keys import Notice, find_notices
from threadline.graphs.sections import Section

RUNTIME_SECTIONS = frozenset(
    {"store", "checkpointer", "auth", "encryption", "priority", "http", "webhooks", "ui", "ui_config"}
)


class OnVersionChange(StrEnum):
    """What a run does on a thread whose past is of another topology of its graph."""

    LATEST = "latest"
    PINNED = "pinned"
    MIGRATE = "migrate"


@dataclass(frozen=True, slots=True)
class GraphSource:
    """Where a graph comes from: a variable in a file (`file`) or in an importable module (`module`).

    `migrate` is where the function comes from that moves old threads over, and there is one if `on_version_change`
    says so.
    """

    graph_id: str
    variable: str
    file: Path | None = None
    module: str | None = None
    description: str | None = None
    on_version_change: OnVersionChange = OnVersionChange.LATEST
    migrate: "GraphSource | None" = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """A checked langgraph.json.

    `env` is only read, never applied. `folders` are the dependencies that are folders, in order; the others
    are `requirements`, which whoever builds the image installs. `sections` holds the run-time sections as
    they stand. `allowed_classes` are the (module, name) of classes that checkpoints may be read back as, beside those
    that the graphs declare. `notices` name the keys that are there in vain, each with what to do about it.
    """

    path: Path
    graphs: Mapping[str, GraphSource]
    env: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    requirements: tuple[str, ...] = ()
    sections: Mapping[str, Any] = field(default_factory=dict)
    allowed_classes: frozenset[tuple[str, str]] = frozenset()
    notices: tuple[Notice, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self.path.parent


def load_configuration(path: Path) -> Configuration:
    """Read and check a langgraph.json.

    Raises ConfigurationError, which names the file, the key and what to write instead. A graph file that does
    not exist is not an error here: it concerns only its own graph and shows when the graphs are imported.
    """
    path = path.resolve()
    content = _read(path)
    folders, requirements = _dependencies(path, content.get("dependencies", []))
    return Configuration(
        path=path,
        graphs=MappingProxyType(_graphs(path, content.get("graphs"))),
        env=MappingProxyType(_env(path, content.get("env") or {})),
        folders=folders,
        requirements=requirements,
        sections=MappingProxyType({key: content[key] for key in content if key in RUNTIME_SECTIONS}),
        allowed_classes=_allowed_classes(path, content.get("checkpointer") or {}),
        notices=(*find_notices(content), *_notices_of_values(content)),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(path, "", "the file does not exist; create it or name another one") from None
    except OSError as error:
        raise ConfigurationError(path, "", f"the file cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(path, "", f"not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(path, "", 'must be a JSON object such as {"graphs": {...}}')
    return content


def _graphs(path: Path, entries: object) -> dict[str, GraphSource]:
    if not isinstance(entries, dict) or not entries:
        raise ConfigurationError(path, "graphs", 'must name at least one graph, e.g. {"agent": "./agent.py:graph"}')
    return {graph_id: _graph(path, graph_id, entry) for graph_id, entry in entries.items()}


def _graph(path: Path, graph_id: str, entry: object) -> GraphSource:
    key = f"graphs.{graph_id}"
    if not graph_id.strip():
        raise ConfigurationError(path, key, "a graph needs a name")
    if _is_uuid(graph_id):
        raise ConfigurationError(path, key, "a UUID would be taken for an assistant's id; choose another name")
    given = entry if isinstance(entry, dict) else {"path": entry}
    description, location = given.get("description"), given.get("path")
    if description is not None and not isinstance(description, str):
        raise ConfigurationError(path, f"{key}.description", "must be a string")
    if not isinstance(location, str):
        raise ConfigurationError(
            path,
            f"{key}.path" if isinstance(entry, dict) else key,
            'must be "./file.py:variable" or {"path": "./file.py:variable", "description": "..."}',
        )
    source = read_source(path, f"{key}.path" if isinstance(entry, dict) else key, location)
    change, migrate = _on_version_change(Section(path, key, given), graph_id)
    return replace(source, graph_id=graph_id, description=description, on_version_change=change, migrate=migrate)


def _on_version_change(given: Section, graph_id: str) -> tuple[OnVersionChange, GraphSource | None]:
    change = OnVersionChange(given.choice("on_version_change", [str(each) for each in OnVersionChange]))
    location = given.text("migrate")
    if (change is OnVersionChange.MIGRATE) != (location is not None):
        raise given.wrong("migrate", 'names a function as "./file.py:function", if `on_version_change` is "migrate"')
    if location is None:
        return change, None
    return change, replace(read_source(given.path, f"{given.key}.migrate", location), graph_id=graph_id)


def read_source(path: Path, key: str, location: str) -> GraphSource:
    """Return where the object that `location` names comes from. Raises ConfigurationError, which names the key."""
    place, _, variable = location.rpartition(":")
    if not place or not variable.isidentifier():
        raise ConfigurationError(
            path, key, f'{location!r} must name a variable, as in "./agent.py:graph" or "package.module:graph"'
        )
    if _names_a_module(place):
        return GraphSource(key, variable, module=place)
    return GraphSource(key, variable, file=(path.parent / place).resolve())


def _names_a_module(place: str) -> bool:
    is_dotted = all(part.isidentifier() for part in place.split("."))
    return is_dotted and not place.endswith((".py", ".js", ".ts", ".mjs"))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _env(path: Path, entry: object) -> dict[str, str]:
    if isinstance(entry, str):
        file = path.parent / entry
        if not file.is_file():
            raise ConfigurationError(path, "env", f"{entry!r} does not exist; create it or leave `env` out")
        return {name: value for name, value in dotenv_values(file).items() if value is not None}
    if not isinstance(entry, dict):
        raise ConfigurationError(path, "env", 'must be an object of strings or the path of a file like ".env"')
    for name, value in entry.items():
        if not isinstance(value, str):
            raise ConfigurationError(path, f"env.{name}", f'must be a string, e.g. "{value}"')
    return entry


def _dependencies(path: Path, entries: object) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ConfigurationError(path, "dependencies", 'must be a list of strings, e.g. ["."]')
    folders: list[Path] = []
    requirements: list[str] = []
    for entry in entries:
        folder = (path.parent / entry).resolve()
        if folder.is_dir():
            folders.append(folder)
        elif entry.startswith("."):
            raise ConfigurationError(path, "dependencies", f"{entry!r} is not a folder beside this file")
        else:
            requirements.append(entry)
    return tuple(folders), tuple(requirements)


def _allowed_classes(path: Path, checkpointer: object) -> frozenset[tuple[str, str]]:
    serde = Section(path, "checkpointer", checkpointer).section("serde")
    listed = serde.value("allowed_msgpack_modules") if serde else None
    if serde is None or listed is None or isinstance(listed, bool):
        return frozenset()
    if not isinstance(listed, list) or not all(_is_class_name(entry) for entry in listed):
        raise serde.wrong("allowed_msgpack_modules", 'must list classes by module and name, e.g. [["agent", "State"]]')
    return frozenset((".".join(entry[:-1]), entry[-1]) for entry in listed)


def _is_class_name(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) >= 2 and all(isinstance(part, str) and part for part in entry)


def _notices_of_values(content: dict[str, Any]) -> list[Notice]:
    """Name the values that ask for what is refused or does not exist, where nothing becomes unsafe by going on."""
    checkpointer = content.get("checkpointer") or {}
    serde = checkpointer.get("serde") if isinstance(checkpointer, dict) else None
    notices = []
    if isinstance(serde, dict) and serde.get("allowed_msgpack_modules") is True:
        text = "would construct any class: name those that your states hold without declaring them"
        notices.append(Notice("checkpointer.serde.allowed_msgpack_modules", text, is_known=True))
    auth = content.get("auth")
    if isinstance(auth, dict) and auth.get("disable_studio_auth") is False:
        text = "cannot be turned off: nobody gets past `auth.path`, Studio included"
        notices.append(Notice("auth.disable_studio_auth", text, is_known=True))
    return notices
