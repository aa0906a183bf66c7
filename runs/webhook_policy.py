"""Owns which addresses a webhook may be sent to, and what is sent along; sending is `webhooks`' business."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx2

from threadline.graphs.assistant.addresses import Address, RefusedAddress, Resolve, check_addresses, resolve
from threadline.runs.errors import Invalid

RESOLVE_SECONDS = 5.0


class RefusedWebhook(Invalid):
    """A webhook's address must not be called; the text says why and what instead."""


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """What a webhook's URL may be.

    By default https and a host whose every address is public. `allow_loopback` is for development: it adds http
    and https to this machine, and paths of this server's own application. `allowed_domains` may hold names and
    `*.name`, which stands for what is below that name; none means any. `headers` go with each call.
    """

    allow_loopback: bool = False
    require_https: bool = True
    allowed_domains: Sequence[str] = ()
    allowed_ports: Sequence[int] = ()
    max_url_length: int = 65_536
    headers: Mapping[str, str] = field(default_factory=dict)

    async def check(self, url: str, resolve: Resolve = resolve) -> Sequence[Address]:
        """Return the addresses that `url` leads to, none for a path of this server. Raises RefusedWebhook."""
        if len(url) > self.max_url_length:
            raise RefusedWebhook(f"Webhook URL is longer than {self.max_url_length} characters")
        if is_local(url):
            self._check_local()
            return ()
        parsed = self._check_parts(url)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await resolve(parsed.host, port_of(parsed))
        except (OSError, UnicodeError, TimeoutError):
            raise RefusedWebhook("Webhook host blocked: DNS resolution failed") from None
        return self._check_addresses(parsed, list(dict.fromkeys(found)))

    def _check_local(self) -> None:
        if not self.allow_loopback:
            raise RefusedWebhook(
                "Webhooks to paths of this server are disabled: they reach routes as an unauthenticated caller. Give "
                "a full https URL, or set THREADLINE_WEBHOOK_ALLOW_LOOPBACK=true for development."
            )

    def _check_parts(self, url: str) -> httpx2.URL:
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeError) as problem:
            raise RefusedWebhook(f"Invalid webhook URL: {problem}") from None
        if not parsed.host or parsed.scheme not in ("http", "https"):
            raise RefusedWebhook(f"Invalid webhook hostname {parsed.host!r}: give a full https URL")
        if _is_localhost(parsed.host) and not self.allow_loopback:
            raise RefusedWebhook("Webhook host blocked: localhost address")
        port = port_of(parsed)
        if not 0 < port < 65_536:
            raise RefusedWebhook(f"Invalid webhook URL: there is no port {port}")
        if self.allowed_ports and port not in self.allowed_ports:
            raise RefusedWebhook(f"Webhook port {port} is not allowed")
        if self.allowed_domains and not any(_matches(parsed.host, domain) for domain in self.allowed_domains):
            raise RefusedWebhook(f"Webhook host {parsed.host!r} is not an allowed domain")
        return parsed

    def _check_addresses(self, parsed: httpx2.URL, addresses: Sequence[Address]) -> Sequence[Address]:
        try:
            check_addresses(parsed.host, addresses, allow_loopback=self.allow_loopback)
        except RefusedAddress as problem:
            kind = "loopback IP range" if any(address.is_loopback for address in addresses) else str(problem)
            raise RefusedWebhook(f"Webhook host blocked: {kind}") from None
        is_here = all(address.is_loopback for address in addresses)
        if parsed.scheme != "https" and self.require_https and not is_here:
            raise RefusedWebhook("Webhook must use https")
        return addresses


def is_local(url: str) -> bool:
    """Whether `url` is a path of this server's own application."""
    return url.startswith("/") and not url.startswith("//")


def port_of(url: httpx2.URL) -> int:
    """The port that `url` means."""
    return url.port if url.port is not None else {"http": 80}.get(url.scheme, 443)


def _is_localhost(host: str) -> bool:
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def _matches(host: str, domain: str) -> bool:
    name, wanted = host.lower().rstrip("."), domain.lower()
    return name.endswith(wanted[1:]) if wanted.startswith("*.") else name == wanted
