"""Owns the laboratory that each invariant test gets for itself."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from threadline.tests.laboratory.laboratory import Laboratory


@pytest.fixture
async def lab(dsn: str, tmp_path: Path) -> AsyncIterator[Laboratory]:
    """A database of its own, and what the test starts on it."""
    async with AsyncExitStack() as stack:
        yield Laboratory(dsn, tmp_path, stack)
