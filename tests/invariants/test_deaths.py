"""Invariant 5 where a lease need not be waited for: a process is dead for certain, or is seen to be cut off."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from threadline.commands.demo.processes import descendants
from threadline.runs.engine import Engine
from threadline.runs.hosts import identify, is_gone
from threadline.runs.lease_keeper import RELEASED, Orders, is_stopped
from threadline.runs.model import Run
from threadline.tests.laboratory.laboratory import Laboratory, open_gate, read, trace
from threadline.tests.laboratory.locks import until
from threadline.tests.laboratory.processes import EngineProcess
from threadline.tests.laboratory.proxy import open_proxy
from threadline.tests.laboratory.stories import reports

LONG = timedelta(hours=1)  # a lease that no test waits for
_HELD = "select not pg_try_advisory_xact_lock(hashtextextended(%s::text, 0))"
_QUIET = "select quiet_at < clock_timestamp() from processes where process_id = %s"
_BACK = "select quiet_at > clock_timestamp() from processes where process_id = %s"


def given(folder: Path, *gates: str, **values: Any) -> dict[str, Any]:
    return {"input": {"folder": str(folder), "gates": list(gates), "log": [], **values}}


async def attempts_of(lab: Laboratory, run: Run) -> list[int]:
    return [read(event)["attempt"] for event in await lab.log(run.thread_id) if event.name == "metadata"]


async def begin(lab: Laboratory, **process: Any) -> tuple[EngineProcess, Engine, Run, Path]:
    """A run that waits at its second node in a process of its own, and who has taken it in."""
    worker = await lab.start(lease=LONG, **process)
    door = await lab.open(executes=False)
    folder = lab.make_folder()
    run = await door.queue.create(lab.request("line", **given(folder, "b"), durability="sync"))
    await lab.until_traced(folder, "b started")
    return worker, door, run, folder


async def assert_taken_up_at_once(lab: Laboratory, run: Run, folder: Path) -> None:
    """By a process that has only just been started."""
    open_gate(folder, "b")
    newcomer = await lab.open(lease=LONG)
    async with asyncio.timeout(20):
        await newcomer.tails.result(run)
    assert await attempts_of(lab, run) == [1, 2]
    assert trace(folder) == {"a started": 1, "a done": 1, "b started": 2, "b done": 1, "c started": 1, "c done": 1}


async def test_the_runs_of_a_process_whose_keeper_saw_it_die_are_taken_up_at_once(lab: Laboratory) -> None:
    worker, _, run, folder = await begin(lab)
    worker.kill()
    await until(lambda: lab.value("select gone from processes where process_id = %s", worker.process_id), "it is gone")
    await assert_taken_up_at_once(lab, run, folder)


def test_a_keeper_that_is_told_at_once_that_its_lease_was_given_up_ends_without_a_word() -> None:
    """Its orders and the end of its work lie in the pipe together; it must not take that for its parent's death."""
    orders = Orders("host=/nowhere", "public", False, "id", "name", None, os.getpid(), None, 60.0, 20.0, 30.0)
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "threadline.runs.lease_keeper"],
        input=json.dumps(orders._asdict()).encode() + b"\n" + RELEASED,
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert (ended.stdout, ended.stderr) == (b"", b"")  # it would have told of a database that is not there


def test_a_process_that_ends_while_its_keeper_looks_at_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper has to live on, and to say that the process is gone."""
    process = subprocess.Popen(["sleep", "60"])

    def read_late(path: Path, *_: Any) -> str:
        with path.open() as file:
            process.kill()
            process.wait()
            return file.read()

    assert not is_stopped(process.pid)
    monkeypatch.setattr(Path, "read_text", read_late)
    assert is_stopped(process.pid)


async def test_the_news_of_a_death_is_told_to_those_who_would_look_much_later(lab: Laboratory) -> None:
    worker, _, run, folder = await begin(lab)
    survivor = await lab.open(lease=LONG, poll=lab.never)
    # It has looked at its start, and listens.
    await until(lambda: lab.value(_HELD, survivor.process_id), "the survivor listens")
    worker.kill()
    open_gate(folder, "b")
    async with asyncio.timeout(20):
        await survivor.tails.result(run)
    assert await attempts_of(lab, run) == [1, 2]


async def test_the_runs_of_a_process_that_died_with_its_keeper_are_taken_up_at_once_on_their_host(
    lab: Laboratory,
) -> None:
    worker, _, run, folder = await begin(lab)
    keepers = descendants(worker.pid)
    for keeper in keepers:
        os.kill(keeper, signal.SIGSTOP)  # else it would say so, or be replaced
    worker.kill()
    try:
        await until(lambda: lab.value(_QUIET, worker.process_id), "nothing was heard of it for a while")
        assert await lab.value("select gone from processes where process_id = %s", worker.process_id) is False
        await assert_taken_up_at_once(lab, run, folder)
    finally:
        for keeper in keepers:
            os.kill(keeper, signal.SIGKILL)
        await lab.exit()


async def test_a_process_that_is_cut_off_loses_its_runs_before_its_lease_and_writes_nothing_after(
    lab: Laboratory,
) -> None:
    """It lives and works on; what it does then comes too late, and is told nobody."""
    async with open_proxy(lab.dsn) as proxy:
        worker, _, run, folder = await begin(lab, conninfo=proxy.conninfo)
        survivor = await lab.open()
        calm = await lab.run(survivor, "line", **given(lab.make_folder()))
        await until(lambda: lab.value(_HELD, worker.process_id), "its connection is watched")
        await lab.make_steady()
        proxy.isolate()
        started = time.monotonic()
        await until(lambda: trace(folder)["b started"] == 2, "its run is taken up")
        assert time.monotonic() - started < 10
        open_gate(folder, "b")
        await survivor.tails.result(run)
        await until(lambda: trace(folder)["b done"] == 2, "the one that was cut off does its work, too")
        before = await everything(lab, run)
        proxy.connect_again()
        await until(lambda: lab.value(_BACK, worker.process_id), "it is back")
        await asyncio.to_thread(worker.stop)  # the proxy has to go on meanwhile
        assert await everything(lab, run) == before
        await lab.exit()
    assert await attempts_of(lab, run) == [1, 2]
    assert reports(await lab.log(run.thread_id)) == reports(await lab.log(calm.thread_id))
    assert trace(folder)["c done"] == 1


async def everything(lab: Laboratory, run: Run) -> list[Any]:
    checkpoints = "select xmin::text, checkpoint_id from checkpoints where thread_id = %s order by 2"
    return [await lab.rows(checkpoints, str(run.thread_id)), await lab.log(run.thread_id)]


async def test_a_process_that_is_silent_but_connected_is_waited_for_to_the_end_of_its_lease(lab: Laboratory) -> None:
    worker, _, run, folder = await begin(lab)
    await until(lambda: lab.value(_HELD, worker.process_id), "its connection is watched")
    worker.signal(signal.SIGSTOP)
    await until(lambda: lab.value(_QUIET, worker.process_id), "nothing is heard of it")
    survivor = await lab.open()
    await lab.make_steady()
    other = await lab.run(survivor, "line", **given(lab.make_folder()))
    await asyncio.sleep(0.5)  # five looks of the survivor
    assert await attempts_of(lab, run) == [1]
    worker.signal(signal.SIGCONT)
    open_gate(folder, "b")
    await survivor.tails.result(run)
    assert await attempts_of(lab, run) == [1]
    assert await lab.status(other) == "success"


async def test_who_was_silent_itself_knows_nothing_about_others_for_one_lease(lab: Laboratory) -> None:
    """When a proxy is restarted everybody loses the connection for a moment, and somebody is back first."""
    engine = await lab.open()
    await lab.make_steady()
    await lab.rows("update processes set quiet_at = clock_timestamp() - interval '1 second'")
    statement = "select calm_since > clock_timestamp() - interval '1 minute' from processes where process_id = %s"
    await until(lambda: lab.value(statement, engine.process_id), "its calm time begins with the renewal")
    steady = "select steady_since < clock_timestamp() - interval '1 minute' from processes where process_id = %s"
    assert await lab.value(steady, engine.process_id) is True


def test_a_process_is_gone_when_it_ended_and_when_its_number_is_anothers() -> None:
    me = identify()
    assert not is_gone(me.pid, me.birth)
    assert not is_gone(me.pid, None)
    assert not is_gone(os.getppid(), None)
    if me.birth is not None:
        assert is_gone(me.pid, "1")
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked how
    assert is_gone(child.pid, None) is (me.birth is not None)
    child.wait()
    assert is_gone(child.pid, None)
