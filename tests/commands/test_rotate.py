"""Owns the proof that keys are made, asked for and changed on the command line."""

import asyncio
import subprocess
from typing import Any

import psycopg
import pytest

from threadline.checkpoints.keyring import read_keys
from threadline.checkpoints.pool import Database, open_pool
from threadline.checkpoints.saver import ThreadSaver
from threadline.tests.checkpoints.sealed_world import NEW, OLD, find_in_database, vault_with
from threadline.tests.checkpoints.test_saver import build_graph
from threadline.tests.commands.programs import run
from threadline.tests.laboratory.places import variables as way_to

CANARY = "canary-0d77"


def leave_a_thread(dsn: str, **options: Any) -> None:
    async def work() -> None:
        async with open_pool(Database(dsn, **options), "test") as pool:
            config: Any = {"configurable": {"thread_id": "t"}}
            await build_graph(ThreadSaver(pool)).ainvoke({"log": [CANARY], "title": CANARY}, config)

    asyncio.run(work())


def rotate(dsn: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return run("rotate", variables={**way_to(dsn), **variables})


def test_a_key_is_printed_as_the_setting_takes_it() -> None:
    made = [run("keygen", "--id", "2026-11").stdout.strip() for _ in range(2)]
    assert made[0] != made[1]
    assert all(len(read_keys(key)["2026-11"]) == 32 for key in made)
    refused = run("keygen", "--id", "a b")
    assert (refused.returncode, refused.stdout) == (2, "")


@pytest.mark.parametrize(
    "keys",
    ["nothing", f"{NEW},{NEW}", NEW[:-2], f"{NEW},", "langgraph" + NEW[4:]],
    ids=["no key", "twice", "cut short", "comma", "reserved"],
)
def test_keys_that_cannot_be_meant_stop_the_start_and_are_not_shown(dsn: str, keys: str) -> None:
    done = rotate(dsn, THREADLINE_ENCRYPTION_KEYS=keys)
    assert done.returncode == 2
    assert "THREADLINE_ENCRYPTION_KEYS='***'" in done.stderr
    assert NEW.partition(":")[2][:20] not in done.stderr


@pytest.mark.slow  # six programs
def test_a_database_is_moved_and_its_key_changed(dsn: str) -> None:
    leave_a_thread(dsn)
    assert "there is no key" in rotate(dsn).stderr
    plain = rotate(dsn, THREADLINE_ENCRYPTION_KEYS=OLD)
    assert plain.returncode == 1
    assert "THREADLINE_ENCRYPTION_READ_PLAINTEXT=true" in plain.stderr
    moving = {"THREADLINE_ENCRYPTION_KEYS": OLD, "THREADLINE_ENCRYPTION_READ_PLAINTEXT": "true"}
    assert "everything is encrypted with '2025'" in rotate(dsn, **moving).stdout
    assert find_in_database(dsn, CANARY) == []
    missing = rotate(dsn, THREADLINE_ENCRYPTION_KEYS=NEW)
    assert (missing.returncode, "the key '2025', which is not set" in missing.stderr) == (1, True)
    done = rotate(dsn, THREADLINE_ENCRYPTION_KEYS=f"{NEW},{OLD}")
    assert "everything is encrypted with '2026'" in done.stdout
    again = rotate(dsn, THREADLINE_ENCRYPTION_KEYS=NEW)
    assert ": 0 rows encrypted anew" in again.stdout


def test_rows_that_cannot_be_opened_are_listed_and_their_key_stays_needed(dsn: str) -> None:
    leave_a_thread(dsn, vault=vault_with(OLD))
    assert rotate(dsn, THREADLINE_ENCRYPTION_KEYS=OLD).returncode == 1
    moving = {"THREADLINE_ENCRYPTION_READ_PLAINTEXT": "true"}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update checkpoint_writes set blob = set_byte(blob, 50, 255 - get_byte(blob, 50))")
    done = rotate(dsn, THREADLINE_ENCRYPTION_KEYS=f"{NEW},{OLD}", **moving)
    assert done.returncode == 1
    assert "could not be opened, and stay as they are:\n  checkpoint_writes.blob of t" in done.stderr
    assert rotate(dsn, THREADLINE_ENCRYPTION_KEYS=NEW, **moving).returncode == 1
