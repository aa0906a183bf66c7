"""Owns the files of an export, written row by row: JSON lines, or Parquet where `pyarrow` is installed.

A file appears under its name when it is whole; what an export that failed has written is removed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import orjson

from threadline.replay.tables import Kind, Row
from threadline.runs.errors import Invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GROUP_ROWS = 5_000
_GROUP_BYTES = 8 * 1024 * 1024


class Format(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"
    PARQUET = "parquet"


class _Sink(Protocol):
    def write(self, row: Row) -> None: ...
    def close(self) -> None: ...


class TableFile:
    """One table's file, as a block: at its end the file is there, whole, or not at all."""

    def __init__(self, folder: Path, name: str, columns: Mapping[str, Kind], form: Format) -> None:
        self.path = folder / f"{name}.{form}"
        self._part = folder / f".{name}.{form}.part"
        self._sink: _Sink = (
            _JsonLines(self._part, columns) if form is Format.JSONL else _make_parquet(self._part, columns)
        )
        self.rows = 0

    def write(self, row: Row) -> None:
        """Add a row: one value per column."""
        self._sink.write(row)
        self.rows += 1

    def __enter__(self) -> "TableFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._sink.close()
            if error is None:
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)


class _JsonLines:
    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        self._columns = tuple(columns.items())
        self._file = path.open("wb")

    def write(self, row: Row) -> None:
        shown = {name: _shown(kind, value) for (name, kind), value in zip(self._columns, row, strict=True)}
        self._file.write(orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        self._file.close()


def _shown(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind == "json":
        return orjson.Fragment(value)
    return _EPOCH + timedelta(microseconds=value) if kind == "time" else value


class _Parquet:
    """Row groups of bounded size, compressed; JSON and ids are text, times have a zone."""

    def __init__(self, arrow: Any, parquet: Any, path: Path, columns: Mapping[str, Kind]) -> None:
        types: dict[Kind, Any] = {
            "id": arrow.string(),
            "text": arrow.string(),
            "json": arrow.string(),
            "integer": arrow.int64(),
            "number": arrow.float64(),
            "time": arrow.timestamp("us", tz="UTC"),
        }
        self._arrow = arrow
        self._kinds = tuple(columns.values())
        self._schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
        self._writer = parquet.ParquetWriter(str(path), self._schema, compression="zstd")
        self._pending: list[Row] = []
        self._bytes = 0

    def write(self, row: Row) -> None:
        self._pending.append(row)
        self._bytes += sum(len(value) for value in row if isinstance(value, bytes | str))
        if len(self._pending) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        arrays = [
            self._arrow.array([_text(kind, value) for value in column], type=field.type)
            for kind, field, column in zip(self._kinds, self._schema, zip(*self._pending, strict=True), strict=True)
        ]
        self._writer.write_batch(self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._pending, self._bytes = [], 0


def _text(kind: Kind, value: Any) -> Any:
    return value.decode() if kind == "json" and value is not None else value


def _make_parquet(path: Path, columns: Mapping[str, Kind]) -> _Parquet:
    try:
        import pyarrow  # type: ignore[import-untyped]  # the package has no types
        import pyarrow.parquet  # type: ignore[import-untyped]  # the package has no types
    except ImportError:
        raise Invalid(
            "Parquet is written by pyarrow, which is not installed: install threadline[analytics], or export jsonl"
        ) from None
    return _Parquet(pyarrow, pyarrow.parquet, path, columns)
