"""Owns the addresses at which users say what they think of a run: asked of LangSmith while the run goes on.

Whether a run is traced is `tracing`'s business. What is said goes to LangSmith, past us.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import httpx2

from threadline.runs.encoding import encode
from threadline.runs.invocation import trace_id
from threadline.runs.model import FEEDBACK, Run

logger = logging.getLogger("threadline.tracing")

DEADLINE = timedelta(seconds=10)  # for an answer, counted from the run's start
PATIENCE = timedelta(seconds=2)  # for which the end of a run waits for it at most
VALID = {"days": 0, "hours": 3, "minutes": 0}  # what LangSmith's own clients ask for

Report = Callable[[str, Any], None]


@dataclass
class Feedback:
    """The desk of LangSmith that makes such addresses; `headers` are what it knows us by."""

    endpoint: str
    headers: Mapping[str, str]

    @asynccontextmanager
    async def offering(self, run: Run, report: Report) -> AsyncIterator[None]:
        """Report, behind what the run does in the block, the address for each of its `feedback_keys`.

        Without an answer nothing is reported: that nobody can praise a run is no reason for it to fail.
        """
        keys = list(dict.fromkeys(run.kwargs.get("feedback_keys") or ()))
        if not keys:
            yield
            return
        asking = asyncio.create_task(self._ask(run, keys), name=f"feedback/{run.run_id}")
        try:
            yield
            await asyncio.wait({asking}, timeout=PATIENCE.total_seconds())
            if not asking.done():
                _complain(run, f"no answer {PATIENCE.total_seconds():g} s after the run")
            elif addresses := asking.result():
                report(FEEDBACK, addresses)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def close(self) -> None:
        """Close what is open."""
        if "_client" in vars(self):
            await self._client.aclose()

    async def _ask(self, run: Run, keys: Sequence[str]) -> dict[str, str]:
        """Return the addresses by their keys; none, with a line in the log, when they cannot be had."""
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                response = await self._client.post(
                    f"{self.endpoint}/feedback/tokens",
                    content=encode(_wishes(trace_id(run.run_id, run.attempt), keys)),
                    headers={**self.headers, "content-type": "application/json"},
                )
            if not response.is_success:
                raise ValueError(f"answered {response.status_code}")
            return _read_addresses(keys, response.json())
        except (httpx2.HTTPError, OSError, TimeoutError, ValueError) as error:
            _complain(run, str(error) or type(error).__name__)
            return {}

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(timeout=DEADLINE.total_seconds())


def _wishes(trace: UUID, keys: Sequence[str]) -> list[dict[str, Any]]:
    return [{"run_id": str(trace), "feedback_key": key, "expires_in": VALID} for key in keys]


def _read_addresses(keys: Sequence[str], answer: Any) -> dict[str, str]:
    """Return the addresses, which come in the order of the keys. Raises ValueError."""
    tokens = [token for token in answer if isinstance(token, dict)] if isinstance(answer, list) else []
    urls = [str(token["url"]) for token in tokens if token.get("url")]
    if len(urls) != len(keys):
        raise ValueError("the answer has no address for each key")
    return dict(zip(keys, urls, strict=True))


def _complain(run: Run, reason: str) -> None:
    logger.warning("feedback.not_offered", extra={"run_id": str(run.run_id), "error": reason})
