"""A log line can be read by people and by collectors, whatever was logged."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from threadline.commands.logs import set_up_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_for_people_has_time_level_event_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=False)
    facts = {"run_id": "42", "error": 'it said "no"', "empty": ""}
    logging.getLogger("threadline.runs").info("run.finished", extra=facts)
    (line,) = lines(capsys)
    time, rest = line.split(" ", 1)
    assert time.count(":") == 2
    assert rest == r'info    run.finished run_id=42 error="it said \"no\"" empty=""'


def test_a_line_for_collectors_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=True)
    logging.getLogger("threadline.runs").info("run.finished", extra={"run_id": "42", "odd": {1, 2}, "half": "\ud800"})
    (line,) = lines(capsys)
    told = json.loads(line)
    assert told["event"] == "run.finished"
    assert told["logger"] == "threadline.runs"
    assert told["level"] == "info"
    assert told["run_id"] == "42"
    assert told["odd"] == "{1, 2}"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_comes_with_its_traceback(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=as_json)
    try:
        raise ValueError("kaboom")
    except ValueError:
        logging.getLogger("threadline.runs").exception("run.crashed")
    text = capsys.readouterr().err
    assert "run.crashed" in text
    assert "ValueError: kaboom" in text
    assert text.count("\n") == 1 or not as_json


def test_what_is_known_of_the_surroundings_does_not_replace_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=False, facts=lambda: {"run_id": "around", "thread_id": "1"})
    logging.getLogger("theirs").info("a sentence", extra={"run_id": "said"})
    (line,) = lines(capsys)
    assert line.endswith("info    theirs: a sentence run_id=said thread_id=1")


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("warning", as_json=False)
    logging.getLogger("threadline.runs").info("run.finished")
    logging.getLogger("httpx").info("HTTP Request: GET")
    assert lines(capsys) == []


def test_what_a_library_says_in_several_lines_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=False)
    logging.getLogger("psycopg.pool").warning("error connecting in %r: %s", "pool", "it failed\n\tIs it running?")
    (line,) = lines(capsys)
    assert line.endswith("warning psycopg.pool: error connecting in 'pool': it failed Is it running?")


def test_other_libraries_speak_at_debug_only(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=False)
    logging.getLogger("httpx").info("HTTP Request: GET")
    assert lines(capsys) == []
    set_up_logging("debug", as_json=False)
    logging.getLogger("httpx").info("HTTP Request: GET")
    assert len(lines(capsys)) == 1
    assert sys.stderr is not None
