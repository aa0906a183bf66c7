"""Owns the proof that programs encrypt with the handlers that a langgraph.json names, or do not start."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from threadline.tests.checkpoints.sealed_world import NEW, find_in_database
from threadline.tests.commands.conftest import Launch
from threadline.tests.commands.programs import Program, run
from threadline.tests.commands.projects import WAITING, write_project
from threadline.tests.laboratory.places import variables as way_to
from threadline.tests.runs.life_world import eventually

HANDLERS = "threadline.tests.checkpoints.project_encryption"
CONTEXT = {"X-Encryption-Context": "eyJ0ZW5hbnQiOiAiYW5uIn0="}  # {"tenant": "ann"}
CANARY = "canary-91c5"


def write(folder: Path, variable: str) -> Path:
    """Write a project that names these handlers."""
    return write_project(folder / "theirs", WAITING, encryption={"path": f"{HANDLERS}:{variable}"})


@pytest.mark.parametrize(
    ("variable", "variables", "told"),
    [
        ("only_blobs", {"THREADLINE_ENCRYPTION_KEYS": NEW}, "THREADLINE_ENCRYPTION_KEYS, LANGGRAPH_AES_KEY) do not go"),
        ("half", {}, "has no `@decrypt.blob` handler"),
    ],
    ids=["keys as well", "nothing to decrypt with"],
)
def test_a_program_whose_handlers_cannot_be_used_does_not_start(
    folder: Path, dsn: str, variable: str, variables: dict[str, str], told: str
) -> None:
    config = write(folder, variable)
    done = run("worker", "--config", str(config), variables={**way_to(dsn), **variables})
    assert done.returncode == 2
    assert f"{config}: encryption" in done.stderr
    assert told in done.stderr


def kill(program: Program) -> None:
    """Kill everything that the program consists of."""
    for pid in program.family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow  # two starts of a server
async def test_a_run_goes_on_in_its_context_after_all_processes_were_killed(
    folder: Path, start: Launch, dsn: str
) -> None:
    arguments = ("serve", "--port", "0", "--config", str(write(folder, "only_blobs")))
    program = start(*arguments, cwd=None, **way_to(dsn))
    thread = str(uuid4())
    async with httpx.AsyncClient(base_url=program.await_url(), timeout=30) as http:
        (await http.post("/threads", json={"thread_id": thread})).raise_for_status()
        given: Any = {"assistant_id": "waiting", "input": {"seconds": 5, "log": [CANARY]}, "durability": "sync"}
        made = await http.post(f"/threads/{thread}/runs", json=given, headers=CONTEXT)
        run_id = made.raise_for_status().json()["run_id"]

        async def has_begun() -> bool:
            state = await http.get(f"/threads/{thread}/state")
            return "begun" in (state.json()["values"] or {}).get("log", ())

        await eventually(has_begun)
    kill(program)
    again = start(*arguments, cwd=None, **way_to(dsn))
    async with httpx.AsyncClient(base_url=again.await_url(), timeout=60) as http:
        ended = (await http.get(f"/threads/{thread}/runs/{run_id}/join")).raise_for_status().json()
    assert ended["log"] == [CANARY, "begun", "waited"]
    assert find_in_database(dsn, CANARY) == []
    shown = run("history", thread, "--config", arguments[-1], variables=way_to(dsn))
    assert (shown.returncode, CANARY in shown.stdout) == (0, True)
