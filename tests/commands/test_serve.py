"""`threadline serve` as a person or a process manager sees it: one command that starts and stops everything."""

import os
import signal
import socket
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from threadline.checkpoints.embedded import attach
from threadline.commands.demo.processes import living
from threadline.tests.checkpoints.embedded.owners import eventually, find_postmaster
from threadline.tests.commands.conftest import Launch, Serve
from threadline.tests.commands.projects import DEADLY, WAITING, write_project
from threadline.tests.commands.requests import begin_run, read_events, wait_run
from threadline.tests.laboratory.places import variables as way_to


@pytest.fixture
def config(folder: Path) -> Path:
    """A project with one graph, which waits."""
    return write_project(folder / "theirs", WAITING)


def test_serve_answers_until_sigterm_and_leaves_nothing_behind(start: Launch, data_dir: Path) -> None:
    program = start("serve", "--port", "0", "--data-dir", str(data_dir), cwd=Path(__file__).parents[2])
    url = program.await_url()
    assert httpx.get(f"{url}/ok?check_db=true").json()["ok"]
    assert httpx.get(f"{url}/docs").status_code == 200
    assert len(program.family) > 5, "parent, child, lease keeper, shim and PostgreSQL"
    program.send(signal.SIGTERM)
    assert program.await_end() == 0
    assert not living(program.started)
    assert attach(data_dir) is None


def test_a_second_serve_on_a_taken_port_says_who_has_it(start: Launch, config: Path, data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = start("serve", "--port", str(port), "--config", str(config), "--data-dir", str(data_dir))
        assert program.await_end() == 1
    assert f"127.0.0.1:{port} is already in use by process {os.getpid()} " in program.log
    assert "--port" in program.log
    assert "Traceback" not in program.log


@pytest.mark.slow  # several programs, one after the other
def test_a_second_serve_on_the_same_data_directory_is_refused(serve: Serve, config: Path, data_dir: Path) -> None:
    first = serve(config, data_dir)
    url = first.await_url()
    second = serve(config, data_dir)
    assert second.await_end() == 1
    assert f"{data_dir} is in use by process {first.pid}" in second.log
    assert "Traceback" not in second.log
    assert httpx.get(f"{url}/ok?check_db=true").status_code == 200


def test_kill_9_of_the_parent_takes_everything_with_it(serve: Serve, config: Path, data_dir: Path) -> None:
    program = serve(config, data_dir, "--workers", "2")
    begin_run(program.await_url(), 5)
    assert len(program.family) > 8
    program.send(signal.SIGKILL)
    program.process.wait()
    program.await_gone()
    eventually(lambda: attach(data_dir) is None)


@pytest.mark.slow  # several programs, one after the other
def test_a_killed_child_is_replaced_and_its_run_goes_on(serve: Serve, config: Path, data_dir: Path) -> None:
    program = serve(config, data_dir)
    url = program.await_url()
    thread_id, run_id = begin_run(url, 1)
    os.kill(program.children[0], signal.SIGKILL)
    program.await_log("child.ready", times=2)
    assert "child.died child=0" in program.log
    assert "exit=SIGKILL" in program.log
    events = read_events(url, thread_id, run_id)
    assert [event.data["attempt"] for event in events if event.name == "metadata"] == [1, 2]
    assert [list(event.data) for event in events if event.name == "updates"] == [["begin"], ["wait"]]
    assert program.family
    program.send(signal.SIGTERM)
    assert program.await_end() == 0


@pytest.mark.slow  # several programs, one after the other
def test_clients_wait_while_the_only_child_is_being_replaced(serve: Serve, config: Path, data_dir: Path) -> None:
    program = serve(config, data_dir)
    url = program.await_url()
    os.kill(program.children[0], signal.SIGKILL)
    program.await_log("child.died")
    assert httpx.get(f"{url}/ok", timeout=30).status_code == 200


def test_each_of_two_children_answers_on_the_one_socket(serve: Serve, config: Path, data_dir: Path) -> None:
    program = serve(config, data_dir, "--workers", "2")
    url = program.await_url()
    first, second = program.children
    for paused in (first, second):
        os.kill(paused, signal.SIGSTOP)
        assert httpx.get(f"{url}/ok", timeout=10).status_code == 200, "the other one answers"
        os.kill(paused, signal.SIGCONT)
    assert "with 2 processes" in program.output


@pytest.mark.slow  # several programs, one after the other
def test_a_child_that_cannot_start_ends_serve_with_its_error(serve: Serve, folder: Path, data_dir: Path) -> None:
    program = serve(write_project(folder / "theirs", DEADLY), data_dir)
    assert program.await_end(60) == 1
    assert program.log.count("child.died") == 3
    assert "A child process could not be started, 3 times in a row: it ended with code 3" in program.log
    assert "Traceback" not in program.log
    assert attach(data_dir) is None


def test_the_embedded_server_is_started_again_after_a_crash(serve: Serve, config: Path, data_dir: Path) -> None:
    program = serve(config, data_dir)
    url = program.await_url()
    thread_id, run_id = begin_run(url, 2)
    postmaster = find_postmaster(data_dir)
    os.kill(postmaster, signal.SIGKILL)
    program.await_log("embedded.died")
    program.await_log("embedded.started", times=2)
    events = read_events(url, thread_id, run_id)
    assert [list(event.data) for event in events if event.name == "updates"][-1] == ["wait"]
    assert wait_run(url, "waiting", {"seconds": 0})["log"] == ["begun", "waited"]
    assert program.log.count("child.ready") == 1, "the children waited for it"


@pytest.mark.slow  # several programs, one after the other
def test_a_run_that_ends_within_the_drain_is_not_cut_off(serve: Serve, config: Path, folder: Path, dsn: str) -> None:
    program = serve(config, folder, **way_to(dsn))
    _, run_id = begin_run(program.await_url(), 1)
    program.send(signal.SIGTERM)
    assert program.await_end() == 0
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select status, attempt from runs where run_id = %s", [run_id]).fetchone()
    assert row == ("success", 1)


@pytest.mark.slow  # several programs, one after the other
def test_a_run_that_takes_longer_is_handed_back(serve: Serve, config: Path, folder: Path, dsn: str) -> None:
    grace = {"BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": "0.3", **way_to(dsn)}
    program = serve(config, folder, **grace)
    _, run_id = begin_run(program.await_url(), 60)
    started = time.monotonic()
    program.send(signal.SIGTERM)
    assert program.await_end() == 0
    assert time.monotonic() - started < 10
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select status from runs where run_id = %s", [run_id]).fetchone()
    assert row == ("pending",)


def test_a_second_ctrl_c_does_not_wait_for_the_drain(serve: Serve, config: Path, data_dir: Path) -> None:
    program = serve(config, data_dir)
    begin_run(program.await_url(), 5)
    assert program.family
    os.killpg(program.pid, signal.SIGINT)  # a terminal sends it to the whole group
    program.await_log("server.stopping")
    os.killpg(program.pid, signal.SIGINT)
    assert program.await_end(2) == 130
    program.await_gone()


@pytest.mark.slow  # several programs, one after the other
@pytest.mark.parametrize("moment", ["initdb", "imports"])
def test_ctrl_c_during_the_start_leaves_nothing_behind(serve: Serve, config: Path, folder: Path, moment: str) -> None:
    program = serve(config, folder / "new")
    if moment == "initdb":
        eventually(lambda: list((folder / "new").glob("pg*/data.new")), within=30)
    else:
        program.await_log("migrate.applied", times=4)
        eventually(lambda: any(" child " in command for command in program.commands), within=10)
    assert program.family
    os.killpg(program.pid, signal.SIGINT)
    assert program.await_end(20) == 0
    program.await_gone()
    assert "Traceback" not in program.log
