"""Commands that share a database: HTTP and user code apart, and short commands beside a running server."""

import signal
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import psycopg
import pytest

from threadline.checkpoints.embedded import attach
from threadline.tests.commands.conftest import Launch
from threadline.tests.commands.programs import launch, run
from threadline.tests.commands.projects import WAITING, write_project
from threadline.tests.commands.requests import begin_run, read_events, wait_run
from threadline.tests.laboratory.places import variables as way_to


def test_runs_that_an_api_accepts_are_executed_by_a_worker(start: Launch, folder: Path, dsn: str) -> None:
    config = str(write_project(folder / "theirs", WAITING))
    api = start("api", "--port", "0", "--config", config, cwd=None, **way_to(dsn))
    worker = start("worker", "--config", config, cwd=None, **way_to(dsn))
    worker.await_log("worker.ready")
    api.await_log("api.ready")
    url = api.log.partition("url=")[2].split()[0]
    assert wait_run(url, "waiting", {"seconds": 0})["log"] == ["begun", "waited"]
    worker.await_log("run.finished")  # it is said after the commit that the client heard of
    assert "run.finished" not in api.log
    for program in (worker, api):
        program.send(signal.SIGTERM)
        assert program.await_end() == 0, program.log


@pytest.mark.slow  # several programs, one after the other
def test_a_stopping_worker_leaves_its_run_to_the_next_one(start: Launch, folder: Path, dsn: str) -> None:
    config = str(write_project(folder / "theirs", WAITING))
    variables = {**way_to(dsn), "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": "0.2"}
    api = start("api", "--port", "0", "--config", config, cwd=None, **variables)
    worker = start("worker", "--config", config, cwd=None, **variables)
    api.await_log("api.ready")
    url = api.log.partition("url=")[2].split()[0]
    thread_id, run_id = begin_run(url, 1)
    worker.send(signal.SIGTERM)
    assert worker.await_end() == 0
    start("worker", "--config", config, cwd=None, **variables).await_log("run.finished")
    updates = [list(event.data) for event in read_events(url, thread_id, run_id) if event.name == "updates"]
    assert updates == [["begin"], ["wait"]]


@pytest.fixture(scope="module")
def served(data_dir: Path) -> Iterator[Path]:
    """The langgraph.json of a `serve` that runs on `data_dir`."""
    folder = Path(mkdtemp(prefix="tl-"))
    config = write_project(folder / "theirs", WAITING)
    where = ("--port", "0", "--config", str(config), "--data-dir", str(data_dir))
    program = launch(folder / "program", "serve", *where)
    try:
        program.await_url()
        yield config
    finally:
        program.end()
        rmtree(folder)


@pytest.mark.slow  # several programs, one after the other
def test_an_api_and_a_worker_find_the_server_of_a_running_serve(start: Launch, served: Path, data_dir: Path) -> None:
    where = ("--config", str(served), "--data-dir", str(data_dir))
    api = start("api", "--port", "0", *where)
    start("worker", *where).await_log("worker.ready")
    api.await_log("api.ready")
    assert wait_run(api.log.partition("url=")[2].split()[0], "waiting", {"seconds": 0})["log"] == ["begun", "waited"]


@pytest.mark.slow  # several programs, one after the other
def test_ingest_uses_the_server_of_a_running_serve(served: Path, folder: Path, data_dir: Path) -> None:
    (folder / "guide.md").write_text("# Streams\n\nA stream reads the log.\n")
    done = run("ingest", "guide.md", "--data-dir", str(data_dir), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "embedded.started" not in done.stderr
    dsn = attach(data_dir)
    assert dsn is not None, f"that of {served}"
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select from documents where path = 'guide.md'").fetchall()


@pytest.mark.slow  # several programs, one after the other
def test_an_api_on_a_database_without_the_schema_says_what_to_do(folder: Path, empty_dsn: str) -> None:
    config = write_project(folder / "theirs", WAITING)
    refused = run("api", "--port", "0", "--config", str(config), variables=way_to(empty_dsn))
    assert refused.returncode == 1
    assert "run `threadline migrate` first" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_migrate_says_what_it_did_and_does_it_once(empty_dsn: str) -> None:
    first, second = (run("migrate", variables=way_to(empty_dsn)) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "applied 0001_kernel\n" in first.stdout
    assert "applied" not in second.stdout
    assert "up to date" in second.stdout


@pytest.mark.slow  # several programs, one after the other
def test_ingest_tells_what_became_of_each_document(folder: Path, dsn: str) -> None:
    (folder / "notes").mkdir()
    (folder / "notes" / "guide.md").write_text("# Leases\n\nA lease belongs to a process.\n")
    (folder / "notes" / "picture.txt").write_bytes(bytes(range(256)))
    done = run("ingest", "notes", cwd=folder, variables=way_to(dsn))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "added       notes/guide.md (1 passages)",
        "skipped     notes/picture.txt: it is not UTF-8 text",
        "1 added, 1 skipped",
    ]
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select path from documents").fetchall() == [("notes/guide.md",)]


@pytest.mark.slow  # several programs, one after the other
def test_ingest_starts_a_server_for_itself_where_nobody_runs_one(folder: Path) -> None:
    (folder / "guide.md").write_text("# Streams\n\nA stream reads the log.\n")
    done = run("ingest", "guide.md", "--data-dir", str(folder / "new"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "embedded.started" in done.stderr
    assert attach(folder / "new") is None
