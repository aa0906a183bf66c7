"""The guides for newcomers: every command in them is typed, in its order, and does what the guide says of it."""

import ast
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from threadline.tests.commands.guides import Block, Reader, read_guide
from threadline.tests.source import ROOT

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="the guides' readers have curl"),
    pytest.mark.slow,  # a guide has a dozen commands, each a program
]


@pytest.fixture
def desk(folder: Path) -> Path:
    """Where a reader's processes keep their files."""
    made = folder / "desk"
    made.mkdir()
    return made


AGENT = """
from typing import TypedDict

from langgraph.graph import START, StateGraph


class State(TypedDict, total=False):
    text: str


def say(state: State) -> State:
    return {"text": "hello"}


graph = StateGraph(State).add_node("say", say).add_edge(START, "say").compile()
"""


def reading(reader: Reader) -> Iterator[Reader]:
    yield reader
    reader.abandon()


@pytest.fixture
def newcomer(desk: Path, data_dir: Path) -> Iterator[Reader]:
    """Somebody in the clone, with a database of their own."""
    yield from reading(Reader(ROOT, desk, THREADLINE_DATA_DIR=str(data_dir)))


@pytest.fixture
def author(folder: Path, desk: Path, data_dir: Path) -> Iterator[Reader]:
    """Somebody in a folder of their own."""
    yield from reading(Reader(folder, desk, THREADLINE_DATA_DIR=str(data_dir)))


def commands(path: str) -> dict[str, list[Block]]:
    """The blocks of commands by their heading."""
    found: dict[str, list[Block]] = {}
    for block in read_guide(path):
        assert block.kind in {"sh", "python", "json"}, f"{path}: say what kind of code it is under {block.heading!r}"
        if block.kind == "sh":
            found.setdefault(block.heading, []).append(block)
    return found


def test_the_quickstart_does_what_it_says(newcomer: Reader) -> None:
    printed = {
        heading: [newcomer.follow(block) for block in blocks]
        for heading, blocks in commands("docs/quickstart.md").items()
    }
    newcomer.stop()
    first = printed["A first run"][0]
    assert "12 * 31 = 372." in first
    assert re.search(r"lease.* \[\d\]\.", first)
    stream, resumed = printed["Stream it"]
    assert re.findall(r"^event: (\w+)", stream, flags=re.MULTILINE)[0] == "metadata"
    assert "event: messages" in stream
    assert min(map(int, re.findall(r"^id: (\d+)", resumed, flags=re.MULTILINE))) > 5
    assert stream.endswith(resumed)
    asked, restarted, answered = printed["Approve an interrupt"]
    assert "{'action': 'save_note', 'args': " in asked
    assert restarted == ""
    assert "is saved." in json.loads(answered)["messages"][-1]["content"]
    (past,) = printed["Look back"]
    assert "planner" in past
    assert re.search(r"^\d+  messages  ", past, flags=re.MULTILINE)
    assert re.fullmatch(r"[0-9a-f-]{36}", past.splitlines()[-1])


def test_the_graph_of_the_guide_is_served_and_asks(author: Reader, folder: Path) -> None:
    for block in read_guide("docs/write-a-graph.md"):
        if name := re.fullmatch(r"`(stock/[\w.]+)`:", block.before):
            (folder / name[1]).parent.mkdir(exist_ok=True)
            (folder / name[1]).write_text(block.text)
    blocks = commands("docs/write-a-graph.md")
    serving, counting = (author.follow(block) for block in blocks["Serve it"])
    assert serving == ""
    assert author.server is not None
    assert "graphs    stock\n" in author.server.output
    assert "As of now: 2 walnuts." in counting
    assert [name for name in ("planner", "tools", "responder") if f'{{"{name}":' in counting] == [
        "planner",
        "tools",
        "responder",
    ]
    asked, answered = author.follow(blocks["Let it ask"][0]).split('}{"')
    assert '"order":"walnuts"' in asked
    assert "walnuts are ordered" in answered
    author.stop()


def test_the_effects_of_the_guide_happen_once(author: Reader, folder: Path) -> None:
    blocks = read_guide("docs/effects.md")
    files = {name[1]: block.text for block in blocks if (name := re.search(r"`(orders/[\w.]+)`", block.before))}
    example = next(block for block in blocks if block.kind == "python" and "graph =" in block.text)
    (folder / "orders").mkdir()
    (folder / "orders" / "graph.py").write_text(example.text)
    (folder / "orders" / "langgraph.json").write_text(files["orders/langgraph.json"])
    serving, printed = (author.follow(block) for block in commands("docs/effects.md")["An example"])
    author.stop()
    assert serving == ""
    assert '"Ship it?"' in printed
    assert '"shipped":["receipt of parcel-1","receipt of parcel-2"]' in printed
    ledger = (folder / "ledger").read_text().splitlines()
    assert [line.rpartition(" ")[0] for line in ledger] == ["charge 12", "parcel-1", "parcel-2"]
    assert len({line.rpartition(" ")[2] for line in ledger}) == 3


def test_whoever_comes_from_another_server_gets_going(author: Reader, folder: Path) -> None:
    (folder / "agent.py").write_text(AGENT)
    (folder / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}))
    blocks = commands("docs/migrating.md")
    assert author.follow(blocks["Ask the doctor"][0]) == "ok      graphs.agent: imported\n"
    serving, listed = (author.follow(block) for block in blocks["Start"])
    assert serving == ""
    assert [assistant["name"] for assistant in json.loads(listed)] == ["agent"]
    assert author.follow(blocks["Threads of your own graphs"][0]).endswith(": 0 threads adopted\n")
    author.stop()


def test_the_graph_of_the_guide_is_as_short_as_it_says() -> None:
    (code,) = [block.text for block in read_guide("docs/write-a-graph.md") if block.kind == "python"]
    assert ast.parse(code)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 30
