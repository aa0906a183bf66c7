"""Owns the headers by which a caller's trace takes in a run: what they look like, and what of them is believed."""

import re
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, unquote
from uuid import UUID

import orjson

from threadline.checkpoints.secrets import without_secrets
from threadline.runs.model import JsonObject

TRACE = "langsmith-trace"
BAGGAGE = "baggage"
MAX_LENGTH = 8192  # of each header, in characters
_SEGMENT = re.compile(r"(\d{8}T\d{12}Z)([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
# A caller's project and copies elsewhere are not believed: they choose who reads our traces.
_METADATA, _TAGS = "langsmith-metadata", "langsmith-tags"


def read_parent(headers: Mapping[str, str]) -> JsonObject | None:
    """Return what to keep of the headers with the run; None where there is no parent.

    Raises ValueError for a parent that is none. Unreadable baggage is left out, as everywhere where it is read.
    """
    trace = headers.get(TRACE)
    if trace is None:
        return None
    trace = trace.strip()
    if len(trace) > MAX_LENGTH or not all(map(_is_segment, trace.split("."))):
        raise ValueError(f"{TRACE} is no dotted order such as 20260131T120000000000Z<uuid>")
    baggage = _read_baggage(headers.get(BAGGAGE, ""))
    return {TRACE: trace, BAGGAGE: baggage} if baggage else {TRACE: trace}


def _is_segment(text: str) -> bool:
    found = _SEGMENT.fullmatch(text)
    if found is None:
        return False
    try:
        datetime.strptime(found[1], "%Y%m%dT%H%M%S%fZ")  # only whether it is a time at all
        UUID(found[2])
    except ValueError:
        return False
    return True


def _read_baggage(header: str) -> str:
    kept: list[str] = []
    for item in header.split(",") if len(header) <= MAX_LENGTH else ():
        key, _, value = item.strip().partition("=")
        text = unquote(value)
        if key == _METADATA and (metadata := _read_metadata(text)):
            kept.append(f"{key}={quote(orjson.dumps(metadata))}")
        elif key == _TAGS and text and "\0" not in text:
            kept.append(f"{key}={quote(text)}")
    return ",".join(kept)


def _read_metadata(text: str) -> dict[str, str]:
    try:
        metadata = orjson.loads(text)
    except ValueError:
        return {}
    if not isinstance(metadata, dict) or "\0" in str(metadata):
        return {}
    return {key: value for key, value in without_secrets(metadata).items() if isinstance(value, str)}
