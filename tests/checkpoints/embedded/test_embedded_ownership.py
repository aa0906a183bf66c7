"""Owns the proof that a server lives exactly as long as its owner, and that it has one owner at a time."""

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from threadline.checkpoints.embedded import DataDirectoryInUse, attach, run_server
from threadline.checkpoints.embedded.account import find_account
from threadline.checkpoints.embedded.locks import Record, own, read_live_record, write_record
from threadline.checkpoints.embedded.sockets import find_listener
from threadline.tests.checkpoints.embedded.owners import (
    Start,
    StartOwner,
    assert_remembered,
    eventually,
    find_cluster,
    find_postmaster,
    find_shim,
    remember,
)


def read_log(data_dir: Path) -> str:
    return find_cluster(data_dir).with_name("server.log").read_text()


def is_down(data_dir: Path) -> bool:
    return "database system is shut down" in read_log(data_dir)


def find_processes(mention: str) -> list[int]:
    ps = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True)
    return [int(line.split()[0]) for line in ps.stdout.splitlines() if mention in line]


@contextmanager
def run_as_server_account(*command: object) -> Iterator[subprocess.Popen[bytes]]:
    account = find_account()
    program = subprocess.Popen(
        [str(word) for word in command],
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        stderr=subprocess.DEVNULL,
    )
    with program:
        try:
            yield program
        finally:
            program.terminate()  # not as Ctrl-C does: programs in the background of a shell do not hear it


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_shuts_down_cleanly_when_its_owner_is_killed(
    start: Start, start_owner: StartOwner, used_dir: Path, number: signal.Signals
) -> None:
    owner = start_owner(used_dir)
    remember(owner.read_dsn())
    owner.send(number)
    eventually(lambda: is_down(used_dir), within=20)
    eventually(lambda: attach(used_dir) is None)
    server = start(used_dir)
    assert_remembered(server.dsn)
    assert "database system was shut down at" in server.log_path.read_text()


def test_a_child_that_the_owner_forked_does_not_keep_the_server(start_owner: StartOwner, used_dir: Path) -> None:
    owner = start_owner(used_dir, fork=True)
    owner.read_dsn()
    owner.send(signal.SIGKILL)
    eventually(lambda: is_down(used_dir), within=20)


def test_the_server_is_out_of_reach_of_the_terminal_of_its_owner(start_owner: StartOwner, used_dir: Path) -> None:
    owner = start_owner(used_dir)
    owner.read_dsn()
    session = os.getsid(owner.pid)
    assert os.getsid(find_shim(used_dir)) != session
    assert os.getsid(find_postmaster(used_dir)) != session


def test_a_second_owner_is_refused_beside_a_living_one(start: Start, start_owner: StartOwner, used_dir: Path) -> None:
    owner = start_owner(used_dir)
    dsn = owner.read_dsn()
    started = time.monotonic()
    with pytest.raises(DataDirectoryInUse, match=f"{used_dir} is in use by process {owner.pid}"):
        start(used_dir)
    assert time.monotonic() - started < 5
    remember(dsn)


def test_a_new_owner_waits_for_the_server_of_a_killed_one(
    start: Start, start_owner: StartOwner, used_dir: Path
) -> None:
    owner = start_owner(used_dir)
    remember(owner.read_dsn())
    owner.send(signal.SIGKILL)
    assert_remembered(start(used_dir).dsn)


@pytest.fixture
def dying_server(start_owner: StartOwner, used_dir: Path) -> Iterator[int]:
    """A server whose owner was killed, held up on its way down: to go on it needs SIGCONT."""
    owner = start_owner(used_dir)
    remember(owner.read_dsn())
    pid = find_postmaster(used_dir)
    os.kill(pid, signal.SIGSTOP)
    owner.send(signal.SIGKILL)  # its process id stays in use until somebody takes note of its end
    eventually(lambda: attach(used_dir) is None)
    yield pid
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: is_down(used_dir))


def test_a_new_owner_waits_even_if_the_old_server_takes_long(dying_server: int, start: Start, used_dir: Path) -> None:
    with (
        pytest.raises(DataDirectoryInUse, match=r"a server without an owner, waited for 0\.1 s"),
        own(used_dir, timedelta(seconds=0.1), threading.Event()),
    ):
        pytest.fail("the old server holds the data directory")
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(start, used_dir)
        with pytest.raises(TimeoutError):
            starting.result(timeout=1)
        os.kill(dying_server, signal.SIGCONT)
        assert_remembered(starting.result(timeout=10).dsn)


async def test_a_cancelled_start_does_not_wait_any_longer(dying_server: int, used_dir: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), run_server(used_dir):
            pytest.fail("the old server holds the data directory")
    assert time.monotonic() - started < 5


def test_a_new_owner_ends_a_server_whose_shim_was_killed_too(
    start: Start, start_owner: StartOwner, used_dir: Path
) -> None:
    owner = start_owner(used_dir)
    remember(owner.read_dsn())
    orphan, shim = find_postmaster(used_dir), find_shim(used_dir)
    os.kill(shim, signal.SIGSTOP)  # so that it cannot act on the death of the owner
    owner.kill()
    os.kill(shim, signal.SIGKILL)
    eventually(lambda: attach(used_dir) is None)
    os.kill(orphan, 0)
    server = start(used_dir)
    assert_remembered(server.dsn)
    assert "database system was shut down at" in server.log_path.read_text()


def test_another_process_attaches_while_the_owner_lives(start_owner: StartOwner, used_dir: Path) -> None:
    owner = start_owner(used_dir)
    dsn = owner.read_dsn()
    eventually(lambda: attach(used_dir) == dsn)
    remember(dsn)
    assert owner.end() == ""
    assert attach(used_dir) is None


def test_what_an_earlier_owner_recorded_is_not_believed(data_dir: Path) -> None:
    data_dir.mkdir()
    write_record(data_dir, Record(os.getpid(), dsn="host=/nowhere"))
    assert attach(data_dir) is None
    with own(data_dir, timedelta(seconds=1), threading.Event()):
        assert read_live_record(data_dir) == Record(os.getpid())
        assert attach(data_dir) is None


def test_nobody_attaches_to_a_server_that_is_not_ready(start_owner: StartOwner, data_dir: Path) -> None:
    assert attach(data_dir) is None
    owner = start_owner(data_dir)
    eventually(lambda: list(data_dir.glob("pg*/data.new")))
    assert attach(data_dir) is None
    dsn = owner.read_dsn()
    assert attach(data_dir) == dsn


def test_an_initdb_killed_in_the_middle_does_not_block_the_next_start(
    start: Start, start_owner: StartOwner, data_dir: Path
) -> None:
    owner = start_owner(data_dir)
    eventually(lambda: list(data_dir.glob("pg*/data.new/base")))
    owner.kill()
    for pid in find_processes(str(data_dir)):
        os.kill(pid, signal.SIGKILL)
    server = start(data_dir)
    remember(server.dsn)
    assert not list(data_dir.glob("pg*/data.new"))


def test_a_new_owner_waits_for_the_initdb_of_a_killed_one(
    start: Start, start_owner: StartOwner, data_dir: Path
) -> None:
    owner = start_owner(data_dir)
    eventually(lambda: list(data_dir.glob("pg*/data.new/base")))
    owner.kill()
    remember(start(data_dir).dsn)


def test_pid_files_that_name_somebody_else_by_now_are_no_obstacle(start: Start, used_dir: Path) -> None:
    server = start(used_dir)
    remember(server.dsn)
    pid_file = find_cluster(used_dir) / "postmaster.pid"
    lock_file = used_dir / "run" / ".s.PGSQL.5432.lock"
    left = {path: path.read_text().splitlines() for path in (pid_file, lock_file)}
    server.stop()
    with run_as_server_account("sleep", "60") as bystander:
        (used_dir / "run").mkdir(exist_ok=True)
        for path, lines in left.items():
            path.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        assert_remembered(start(used_dir).dsn)
        assert bystander.poll() is None


def test_a_server_that_somebody_else_runs_on_the_cluster_is_left_alone(
    start: Start, used_dir: Path, data_dir: Path
) -> None:
    server = start(used_dir)
    remember(server.dsn)
    server.stop()
    cluster, sockets = find_cluster(used_dir), data_dir
    sockets.mkdir()
    shutil.copystat(cluster, sockets)
    os.chown(sockets, cluster.stat().st_uid, cluster.stat().st_gid)
    postgres = server.binaries.postgres
    with run_as_server_account(postgres, "-D", cluster, "-k", sockets, "-h", "", "-c", "fsync=off") as foreign:
        eventually(lambda: find_listener(sockets) == foreign.pid)
        with pytest.raises(DataDirectoryInUse, match=rf"process {foreign.pid}\) that was not started by Threadline"):
            start(used_dir)
        assert foreign.poll() is None
