"""What `threadline serve` makes of somebody else's project: all tests here look at one server."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from threadline.tests.commands.programs import Program, launch
from threadline.tests.commands.projects import BROKEN, LOOKING, WAITING, write_project
from threadline.tests.commands.requests import begin_run, wait_run


@pytest.fixture(scope="module")
def program(data_dir: Path) -> Iterator[Program]:
    """A server of their graphs, one of which is broken."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    config = write_project(
        folder / "theirs",
        BROKEN | LOOKING | WAITING,
        env={"THEIR_VARIABLE": "set by langgraph.json", "LOG_LEVEL": "debug", "HOME": "/nowhere"},
        priority={"path": "./order.py:order"},
        grphs={},
        python_version="3.11",
    )
    program = launch(folder / "program", "serve", "--port", "0", "--config", str(config), "--data-dir", str(data_dir))
    try:
        program.await_url()
        yield program
    finally:
        program.end()
        shutil.rmtree(folder)


@pytest.fixture
def url(program: Program) -> str:
    return program.await_url()


def test_folders_that_are_named_like_ours_are_theirs(url: str) -> None:
    log = wait_run(url, "looking", {"seconds": 0})["log"]
    assert log[:2] == ["hello from a settings.py of their own", "fetched by their api"]


def test_variables_of_langgraph_json_reach_the_graphs_and_us(program: Program, url: str) -> None:
    assert wait_run(url, "looking", {"seconds": 0})["log"][2] == "set by langgraph.json"
    assert " debug " in program.log


def test_variables_that_are_set_win_over_those_of_langgraph_json(url: str) -> None:
    assert wait_run(url, "looking", {"seconds": 0})["log"][3] not in ("/nowhere", "unset")


def test_the_banner_says_where_everything_is(program: Program, url: str, data_dir: Path) -> None:
    for promised in (f"{url}/docs", "PostgreSQL", str(data_dir), "graphs    looking, waiting\n"):
        assert promised in program.output


def test_the_first_run_that_the_banner_proposes_succeeds(program: Program) -> None:
    address, body = program.first_run()
    headers = {"Content-Type": "application/json"}
    text = httpx.post(address, content=body, headers=headers, timeout=30).text
    assert "hello from a settings.py of their own" in text
    assert "event: error" not in text


def test_a_graph_that_fails_to_import_is_named_with_its_place(program: Program, url: str) -> None:
    assert "graphs/broken.py, line 3: " in program.output
    assert "a_module_that_nobody_has" in program.output
    response = httpx.post(f"{url}/runs/wait", json={"assistant_id": "broken", "input": {}}, timeout=30)
    assert "a_module_that_nobody_has" in response.text


def test_graphs_beside_a_broken_one_work_as_ever(url: str) -> None:
    assert wait_run(url, "waiting", {"seconds": 0})["log"] == ["begun", "waited"]


def test_keys_of_langgraph_json_that_do_nothing_here_are_named_once(program: Program) -> None:
    lines = [line for line in program.log.splitlines() if "config.key_ignored" in line]
    assert [line.rpartition(" key=")[2].split()[0] for line in lines] == ["priority", "grphs"]


def test_log_lines_of_a_run_carry_its_id_even_those_of_the_graph(program: Program, url: str) -> None:
    _, run_id = begin_run(url, 0)
    program.await_log(f"run.finished run_id={run_id}")
    (line,) = [line for line in program.log.splitlines() if "a graph waits" in line and run_id in line]
    assert "theirs: a graph waits run_id=" in line
