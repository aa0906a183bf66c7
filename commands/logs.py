"""Owns how log records are written, to standard error; which events exist is up to those who log them.

A line is a time, a level, an event and its fields, as text for people or as one JSON object for collectors.
"""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

# They speak in sentences about their own affairs; ours are events.
TALKATIVE = ("uvicorn", "httpx", "httpcore", "openai", "asyncio", "psycopg", "langsmith")

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}

Facts = Callable[[], Mapping[str, str]]


def set_up_logging(level: str, *, as_json: bool, facts: Facts = dict) -> None:
    """Write everything from `level` on to standard error; called once, by the process that logs.

    `facts` says what each line is about beside its own fields, such as the run that a graph's own code logs in.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(facts) if as_json else _TextFormatter(facts))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    quiet = logging.NOTSET if root.level <= logging.DEBUG else max(root.level, logging.WARNING)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(True)


class _Formatter(logging.Formatter):
    """Collects the fields of a record."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        self._facts = facts

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the record was logged with, before what is known of its surroundings."""
        own = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        return own | {name: value for name, value in self._facts().items() if name not in own}

    def trace(self, record: logging.LogRecord) -> str | None:
        """The traceback, if there is one."""
        return self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else None


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {name}={_quoted(value)}" for name, value in self.fields(record).items())
        # What others log is told by its logger, as its message is no name.
        source = "" if record.name.startswith("threadline") else f"{record.name}: "
        message = record.getMessage()
        if record.name.startswith(TALKATIVE):
            message = " ".join(message.split())  # libpq's errors have several lines
        line = f"{time} {record.levelname.lower():7} {source}{message}{fields}"
        trace = self.trace(record)
        return f"{line}\n{trace}" if trace else line


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            "process": record.process,
        }
        line = {**self.fields(record), **line}
        if trace := self.trace(record):
            line["exception"] = trace
        # Not orjson: it refuses what a log must be able to tell, such as halves of surrogate pairs.
        return json.dumps(line, default=str, skipkeys=True, separators=(",", ":"))


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and not any(each in text for each in ' "=\n\r\t') else json.dumps(text, ensure_ascii=False)
