"""What the measurement of a growing conversation promises: it runs, and its page misses nothing."""

import asyncio
import sys

import pytest

from threadline.bench.conversation import ANSWER, say
from threadline.bench.storage import CONTENDERS, PARTS, tell
from threadline.runs.model import JsonObject
from threadline.tests.source import ROOT


def sizes(kilobytes: int) -> JsonObject:
    """A measure in which every part takes a sixth."""
    return {"total_bytes": kilobytes * 1000} | {part: {"bytes": kilobytes * 1000 / len(PARTS)} for part in PARTS}


def test_the_page_tells_the_bytes_that_a_turn_adds_at_the_end() -> None:
    page = tell({"one": [sizes(60), sizes(660)], "two": [sizes(6), sizes(12)]}, [10, 50])
    assert "| one | 60 | 660 | 15.0 |" in page
    assert "| two | 6 | 12 | 0.1 |" in page
    assert "| one | 110 | 110 | 110 | 110 | 110 | 110 |" in page


def test_what_is_said_is_the_same_at_each_sitting() -> None:
    assert say(ANSWER, "a1") == say(ANSWER, "a1") != say(ANSWER, "a2")
    assert len(say(ANSWER, "a1")) == ANSWER


@pytest.mark.slow
async def test_a_short_conversation_is_measured_with_every_contender(server_dsn: str) -> None:
    command = [sys.executable, str(ROOT / "bench" / "storage.py"), "--turns", "10", "--postgres", server_dsn]
    bench = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(bench.communicate(), 300)
    assert bench.returncode == 0
    rows = [line.split(" | ")[0].strip("| ") for line in output.decode().splitlines() if line.startswith("| ")]
    assert [row for row in rows if row in CONTENDERS] == [*CONTENDERS] * 2
