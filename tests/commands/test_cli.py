"""The command line: what it offers, and how it refuses what cannot be meant."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from threadline.tests.commands.programs import run
from threadline.tests.commands.projects import WAITING, write_project

COMMANDS = ("serve", "api", "worker", "migrate", "ingest", "demo")


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"threadline {version('threadline')}\n"


def test_the_help_lists_the_commands_for_people() -> None:
    shown = run("--help").stdout
    assert all(f"\n    {command} " in shown for command in COMMANDS)
    assert "child" not in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_says_what_it_does(command: str) -> None:
    shown = run(command, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"usage: threadline {command} ")
    assert "Database" not in shown.stdout


def test_a_command_that_does_not_exist_is_a_misuse() -> None:
    refused = run("launch")
    assert refused.returncode == 2
    assert "launch" in refused.stderr
    assert "child" not in refused.stderr


@pytest.mark.parametrize("command", ["serve", "api", "worker", "migrate", "ingest"])
def test_a_setting_that_cannot_be_meant_is_refused_by_its_variable(command: str) -> None:
    arguments = ["/nowhere"] if command == "ingest" else []
    refused = run(command, *arguments, variables={"THREADLINE_LEASE_SECONDS": "soon"})
    assert refused.returncode == 2
    assert refused.stderr == (
        f"threadline {command}: THREADLINE_LEASE_SECONDS='soon' (from the environment) is refused: "
        "it must be a number of seconds above 0\n"
    )


def test_a_flag_that_cannot_be_meant_is_refused_like_a_variable() -> None:
    refused = run("serve", "--port", "http")
    assert refused.returncode == 2
    assert "THREADLINE_PORT='http' (from the command line) is refused" in refused.stderr


def test_a_setting_of_langgraph_json_is_refused_with_its_file(tmp_path: Path) -> None:
    config = write_project(tmp_path, WAITING, env={"THREADLINE_WORKERS": "none"})
    refused = run("serve", "--config", str(config))
    assert refused.returncode == 2
    assert f"THREADLINE_WORKERS='none' (from {config}) is refused" in refused.stderr


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused = run("serve", "--config", str(tmp_path / "other.json"))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"threadline serve: {tmp_path}/other.json: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("command", ["api", "worker"])
def test_one_half_of_a_process_needs_a_database_that_is_there(command: str, tmp_path: Path) -> None:
    config = write_project(tmp_path, WAITING)
    refused = run(command, "--config", str(config), "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert "Set DATABASE_URL, or start `threadline serve`" in refused.stderr
    assert str(tmp_path / "data") in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_document_that_is_not_there_is_named_before_anything_is_done(tmp_path: Path) -> None:
    refused = run("ingest", str(tmp_path / "guide.md"), "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert f"There is no file or folder {tmp_path}/guide.md" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_command_that_only_reads_does_not_wait_for_what_runs_graphs() -> None:
    """That takes twice as long to be imported as all the rest, and each command is a process."""
    commands = ", ".join(f"threadline.commands.{name}" for name in ("history", "replay", "diff", "export", "fork"))
    asked = f"import sys, {commands}; print('langgraph.pregel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True).stdout == "False\n"
