"""Owns a project of somebody else's: its folders are called like ours, and its graphs show what a test needs."""

import json
from pathlib import Path
from typing import Any

_SETTINGS = 'GREETING = "hello from a settings.py of their own"\n'
_API = 'def fetch() -> str:\n    return "fetched by their api"\n'
_NODES = """
import asyncio
import logging
import operator
import os
import time
from typing import Annotated

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

import settings
from api.client import fetch

logger = logging.getLogger("theirs")


class State(TypedDict, total=False):
    seconds: float
    log: Annotated[list[str], operator.add]


async def begin(state: State) -> State:
    return {"log": ["begun"]}


async def wait(state: State) -> State:
    logger.info("a graph waits")
    await asyncio.sleep(state.get("seconds", 0))
    return {"log": ["waited"]}


async def look(state: State) -> State:
    variables = [os.environ.get(name, "unset") for name in ("THEIR_VARIABLE", "HOME")]
    return {"log": [settings.GREETING, fetch(), *variables]}


def _graph(*nodes):
    graph = StateGraph(State)
    for node in nodes:
        graph.add_node(node)
    graph.add_edge(START, nodes[0].__name__)
    for one, other in zip(nodes, nodes[1:]):
        graph.add_edge(one.__name__, other.__name__)
    return graph.compile()


waiting = _graph(begin, wait)
looking = _graph(look)
"""
_BROKEN = "from graphs.nodes import waiting\n\nimport a_module_that_nobody_has\n"
_DEADLY = "import os\n\nos._exit(3)\n"

WAITING = {"waiting": "./graphs/nodes.py:waiting"}
LOOKING = {"looking": "./graphs/nodes.py:looking"}
BROKEN = {"broken": "./graphs/broken.py:graph"}
DEADLY = {"deadly": "./graphs/deadly.py:graph"}


def write_project(folder: Path, graphs: dict[str, str], **keys: Any) -> Path:
    """Write the project with these graphs; returns its langgraph.json."""
    for path, text in {
        "settings.py": _SETTINGS,
        "api/__init__.py": "",
        "api/client.py": _API,
        "graphs/__init__.py": "",
        "graphs/nodes.py": _NODES,
        "graphs/broken.py": _BROKEN,
        "graphs/deadly.py": _DEADLY,
    }.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    config = folder / "langgraph.json"
    config.write_text(json.dumps({"dependencies": ["."], "graphs": graphs, **keys}))
    return config
