"""`threadline traces resend` as people run it."""

import subprocess
import sys
from pathlib import Path

import pytest

from threadline.runs.trace_spool import Spool, TraceRequest
from threadline.tests.tracing.ingest import serve_ingest

PROGRAM = Path(sys.executable).with_name("threadline")
BODY = b'{"post":[{"id":"1","trace_id":"1","name":"one","dotted_order":"1"}],"patch":[]}'


def resend(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **environ}
    command = [str(PROGRAM), "traces", "resend"]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """The folder of a data directory, with one request in it."""
    spool = Spool(tmp_path / ".threadline" / "traces", 10_000)
    assert spool.save(TraceRequest("runs/batch", {"Content-Type": "application/json"}, BODY))
    return spool


def test_what_waits_is_sent_under_our_key_and_removed(tmp_path: Path, spool: Spool) -> None:
    with serve_ingest() as ingest:
        done = resend(tmp_path, LANGSMITH_ENDPOINT=ingest.url, LANGSMITH_API_KEY="lsv2_test")
        ((path, headers),) = ingest.requests
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "sent 1 files of traces from .threadline/traces, 0 left\n"
    assert (path, headers["x-api-key"], list(ingest.spans)) == ("/runs/batch", "lsv2_test", ["1"])
    assert spool.files() == []


def test_what_cannot_be_sent_stays_and_the_reason_is_told(tmp_path: Path, spool: Spool) -> None:
    with serve_ingest(status=401) as ingest:
        done = resend(tmp_path, LANGSMITH_ENDPOINT=ingest.url, LANGSMITH_API_KEY="lsv2_test")
    assert done.returncode == 1
    assert "1 files of traces stay in .threadline/traces" in done.stderr
    assert "with 401" in done.stderr
    assert "lsv2_test" not in done.stdout + done.stderr
    assert len(spool.files()) == 1


def test_without_a_key_it_is_told_which_variable_is_missing(tmp_path: Path, spool: Spool) -> None:
    done = resend(tmp_path)
    assert done.returncode == 1
    assert "LANGSMITH_API_KEY is not set. The traces stay in .threadline/traces." in done.stderr


def test_the_folder_can_be_named(tmp_path: Path, spool: Spool) -> None:
    elsewhere = tmp_path / "elsewhere"
    spool.folder.rename(elsewhere)
    with serve_ingest() as ingest:
        named = {"LANGSMITH_FAILED_TRACES_DIR": str(elsewhere), "LANGSMITH_API_KEY": "lsv2_test"}
        done = resend(tmp_path, LANGSMITH_ENDPOINT=ingest.url, **named)
    assert done.stdout.startswith("sent 1 files")
