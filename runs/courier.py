"""Owns one call of a webhook: to an address that was checked a moment ago, signed, and what the answer means.

What is owed, and when it is tried again, is `webhooks`' business; which addresses are refused, `webhook_policy`'s.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from uuid import UUID

import httpx2
from starlette.types import ASGIApp

from threadline.graphs.assistant.addresses import Address
from threadline.runs.signatures import Signer
from threadline.runs.webhook_policy import WebhookPolicy, is_local

DEADLINE = timedelta(seconds=20)  # for one call, from the name to the status
GONE = 410


class NotTaken(Exception):
    """The other side answered, and did not take it; the text is for the row and the log.

    `retry_after` is in how many seconds it wants to be asked again, None if it did not say.
    """

    def __init__(self, status_code: int, retry_after: float | None = None) -> None:
        super().__init__(f"answered {status_code}")
        self.status_code = status_code
        self.retry_after = retry_after

    @property
    def is_final(self) -> bool:
        """Whether the other side says that it will never take it."""
        return self.status_code == GONE


@dataclass
class Courier:
    """Calls webhooks. `local_app` serves those whose URL is a path."""

    policy: WebhookPolicy
    signer: Signer = field(default_factory=Signer)
    local_app: ASGIApp | None = None

    async def carry(self, url: str, webhook_id: UUID, moment: datetime, body: bytes) -> int:
        """Send `body` and return the status it was taken with.

        Redirects are not followed: they could lead anywhere. Raises RefusedWebhook, NotTaken, and what a network
        raises.
        """
        addresses = await self.policy.check(url)
        ours = self.signer.headers(webhook_id, moment, body)
        headers = {**self.policy.rules.headers, **ours, "Content-Type": "application/json"}
        if is_local(url):
            return await self._call_here(url, body, headers)
        parsed = httpx2.URL(url)
        *others, last = addresses
        for address in others:
            with suppress(httpx2.ConnectError):
                return await self._call(parsed, address, body, headers)
        return await self._call(parsed, last, body, headers)

    async def close(self) -> None:
        """Close what is open."""
        if "_client" in vars(self):
            await self._client.aclose()

    async def _call(self, url: httpx2.URL, address: Address, body: bytes, headers: Mapping[str, str]) -> int:
        request = self._client.build_request(
            "POST",
            url.copy_with(host=str(address)),
            content=body,
            headers={**headers, "Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        response = await self._client.send(request, stream=True)  # what the body of the answer says is not read
        try:
            return _understand(response)
        finally:
            await response.aclose()

    async def _call_here(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        assert self.local_app is not None
        transport = httpx2.ASGITransport(app=self.local_app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return _understand(await client.post(path, content=body, headers=dict(headers)))

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        # No proxies of the environment, and no reuse: a connection belongs to the name it was checked for.
        limits = httpx2.Limits(max_keepalive_connections=0)
        return httpx2.AsyncClient(trust_env=False, limits=limits, timeout=DEADLINE.total_seconds())


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, as a number or a date; None when it is neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _understand(response: httpx2.Response) -> int:
    if not response.is_success:
        wait = read_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        raise NotTaken(response.status_code, wait)
    return response.status_code
