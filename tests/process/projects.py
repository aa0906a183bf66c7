"""Owns a project that knows nothing of Threadline, written to a folder, and the effects that its nodes leave there.

Its folders are called `graphs` and `api` and it has a `settings.py`: our own names, of which none may be mistaken
for the other. What runs do with it is left to the tests.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_SETTINGS = '''"""The project's own settings."""

import os
from pathlib import Path

OWNER = "somebody else"
FOLDER = Path(os.environ["EFFECTS_FOLDER"])
'''

_EFFECTS = '''"""Effects that outlive the process, and gates that hold a node up until somebody opens them."""

import asyncio
import json
import os

import settings


def leave(state, text):
    line = json.dumps([state["name"], os.getpid(), text]) + "\\n"
    descriptor = os.open(settings.FOLDER / "effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


async def pass_gate(state, node):
    gate = settings.FOLDER / f"{state['name']}.{node}.open"
    while node in state.get("gates", ()) and not gate.exists():
        await asyncio.sleep(0.01)
'''

_FLOWS = '''"""Graphs whose nodes leave an effect when they start and when they have done their work."""

import asyncio
import operator
from typing import Annotated, TypedDict

import settings
from graphs.effects import leave, pass_gate
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from threadline.effects import aeffect


class State(TypedDict, total=False):
    name: str
    gates: list[str]
    steps: int
    pace: float
    log: Annotated[list[str], operator.add]


def step(node):
    async def work(state: State) -> State:
        leave(state, f"{node} started")
        await pass_gate(state, node)
        leave(state, f"{node} done")
        return {"log": [node]}

    work.__name__ = node
    return work


async def ask(state: State) -> State:
    answer = interrupt({"question": "go on?"})
    leave(state, "ask started")
    await pass_gate(state, "ask")
    leave(state, "ask done")
    return {"log": [f"answer {answer}"]}


async def count(state: State) -> State:
    number = len(state.get("log", ()))
    leave(state, f"step{number} started")
    await asyncio.sleep(state.get("pace", 0))
    leave(state, f"step{number} done")
    return {"log": [f"step{number}"]}


async def charge(state: State) -> State:
    leave(state, "charge started")
    paid = [await aeffect(f"pay-{number}", lambda n=number: leave(state, f"payment{n} made")) for number in range(3)]
    await pass_gate(state, "charge")
    paid.append(await aeffect("receipt", lambda: leave(state, "receipt made")))
    return {"log": [len(paid)]}


def is_counting(state: State):
    return "count" if len(state["log"]) < state["steps"] else END


async def tell_owner(state: State) -> State:
    return {"log": [settings.OWNER]}


async def give_unstorable(state: State) -> State:
    return {"log": [object()]}


async def give_back(state: State) -> State:
    return {"log": ["given back"]}


def sequence(*nodes):
    graph = StateGraph(State)
    before = START
    for node in nodes:
        graph.add_node(node.__name__, node).add_edge(before, node.__name__)
        before = node.__name__
    return graph


def make_fork():
    graph = sequence(step("first"))
    for node in ("left", "right"):
        graph.add_node(node, step(node)).add_edge("first", node)
    return graph.add_node("join", step("join")).add_edge(["left", "right"], "join")


def make_nested():
    inner = sequence(step("inner_a"), step("inner_b")).compile()
    graph = sequence(step("a")).add_node("sub", inner).add_node("c", step("c"))
    return graph.add_edge("a", "sub").add_edge("sub", "c")


line = sequence(step("a"), step("b"), step("c")).compile()
fork = make_fork().compile()
nested = make_nested().compile()
asking = sequence(step("a"), ask, step("b")).compile()
counting = sequence(count).add_conditional_edges("count", is_counting).compile()
charging = sequence(step("a"), charge, step("b")).compile()
owned = sequence(tell_owner).compile()
unstorable = sequence(step("a"), give_unstorable).compile()
echoing = sequence(give_back).compile()
'''

_MODEL = '''"""The project's own idea of an API: a model that says the same twenty letters, slowly."""

from langchain_core.language_models import FakeListChatModel

model = FakeListChatModel(responses=["abcdefghijklmnopqrst"], sleep=0.01)
'''

_TALKS = '''"""Graphs that stream tokens, custom events and the events of a subgraph."""

import asyncio

from api.model import model
from graphs.effects import leave, pass_gate
from graphs.flows import State, sequence, step
from langgraph.config import get_stream_writer


async def talk(state: State) -> State:
    leave(state, "talk started")
    said = await model.ainvoke("say something")
    get_stream_writer()({"said": said.content})
    await pass_gate(state, "talk")
    leave(state, "talk done")
    return {"log": ["talk"]}


async def tick(state: State) -> State:
    write = get_stream_writer()
    for number in range(8):
        write({"tick": number})
        await asyncio.sleep(0.01)
    return {"log": ["tick"]}


inner = sequence(step("inner_a"), tick).compile()
talking = sequence(step("a"), talk, step("c")).compile()
chatty = sequence(step("a"), tick, talk).add_node("sub", inner).add_edge("talk", "sub").compile()
'''

_BROKEN = '''"""A file that cannot be imported."""

value = 1
import nowhere_to_be_found
'''

_FLOW_NAMES = ("line", "fork", "nested", "asking", "counting", "owned", "unstorable", "echoing", "charging")
_TALK_NAMES = ("talking", "chatty")


class Effect(NamedTuple):
    """A line that a node left: for whom, in which process, what."""

    name: str
    pid: int
    text: str


@dataclass(frozen=True)
class Project:
    """The project in `folder`. A run's input names it, so that its effects and gates can be told from others'."""

    folder: Path

    @property
    def configuration(self) -> Path:
        return self.folder / "langgraph.json"

    def all_effects(self) -> list[Effect]:
        """What the nodes of all runs left, in the order they left it."""
        file = self.folder / "effects"
        lines = file.read_text().splitlines() if file.exists() else []
        return [Effect(*json.loads(line)) for line in lines]

    def effects(self, name: str) -> list[Effect]:
        """What the nodes of that run left."""
        return [effect for effect in self.all_effects() if effect.name == name]

    def starts(self, name: str) -> Counter[str]:
        """How often each node of that run was started."""
        texts = (effect.text.split() for effect in self.effects(name))
        return Counter(node for node, what in texts if what == "started")

    def pid_of(self, name: str) -> int:
        """The process in which a node of that run was started last."""
        return self.effects(name)[-1].pid

    def open_gate(self, name: str, node: str) -> None:
        """Let that node of that run go on."""
        (self.folder / f"{name}.{node}.open").touch()


def write_project(folder: Path) -> Project:
    """Write the project to a folder that does not exist yet."""
    files = {
        "settings.py": _SETTINGS,
        "graphs/__init__.py": "",
        "graphs/effects.py": _EFFECTS,
        "graphs/flows.py": _FLOWS,
        "graphs/talks.py": _TALKS,
        "graphs/broken.py": _BROKEN,
        "api/__init__.py": "",
        "api/model.py": _MODEL,
    }
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    graphs = {name: f"./graphs/flows.py:{name}" for name in _FLOW_NAMES}
    graphs |= {name: f"./graphs/talks.py:{name}" for name in _TALK_NAMES}
    graphs |= {"broken": "./graphs/broken.py:graph"}
    configuration = {"dependencies": ["."], "graphs": graphs, "env": {"EFFECTS_FOLDER": str(folder)}}
    (folder / "langgraph.json").write_text(json.dumps(configuration))
    return Project(folder)
