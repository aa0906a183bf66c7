"""Owns which addresses a webhook may be sent to; sending is `webhooks`' business."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx2

from threadline.graphs.assistant.addresses import Address, RefusedAddress, Resolve, check_addresses, resolve
from threadline.graphs.webhooks import WebhookRules
from threadline.runs.errors import Invalid

RESOLVE_SECONDS = 5.0
DEFAULT_PORTS = {"https": 443, "http": 80}


class RefusedWebhook(Invalid):
    """A webhook's address must not be called; the text says why and what instead."""


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """What a webhook's URL may be: what langgraph.json allows, and of that only public hosts.

    `allow_loopback` is for development: it adds http and https to this machine, and paths of this server's own
    application.
    """

    rules: WebhookRules = field(default_factory=WebhookRules)
    allow_loopback: bool = False

    @property
    def allows_here(self) -> bool:
        """Whether this machine may be called."""
        return self.allow_loopback or self.rules.allows_relative

    async def check(self, url: str, resolve: Resolve = resolve) -> Sequence[Address]:
        """Return the addresses that `url` leads to, none for a path of this server. Raises RefusedWebhook."""
        if not self.rules.enabled:
            raise RefusedWebhook("Webhooks are disabled on this server")
        if len(url) > self.rules.max_url_length:
            raise RefusedWebhook(f"Webhook URL is longer than {self.rules.max_url_length} characters")
        if is_local(url):
            self._check_local()
            return ()
        parsed = self._check_parts(url)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await resolve(parsed.host, parsed.port or DEFAULT_PORTS[parsed.scheme])
        except (OSError, UnicodeError, TimeoutError):
            raise RefusedWebhook("Webhook host blocked: DNS resolution failed") from None
        return self._check_addresses(parsed, list(dict.fromkeys(found)))

    def _check_local(self) -> None:
        if not self.allows_here:
            raise RefusedWebhook(
                "Webhooks to paths of this server are disabled: they reach routes as an unauthenticated caller. Give "
                "a full https URL, or set THREADLINE_WEBHOOK_ALLOW_LOOPBACK=true for development."
            )

    def _check_parts(self, url: str) -> httpx2.URL:
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeError) as problem:
            raise RefusedWebhook(f"Invalid webhook URL: {problem}") from None
        if not parsed.host or parsed.scheme not in DEFAULT_PORTS:
            raise RefusedWebhook(f"Invalid webhook hostname {parsed.host!r}: give a full https URL")
        if parsed.port is not None and not 0 < parsed.port < 65_536:
            raise RefusedWebhook(f"Invalid webhook URL: there is no port {parsed.port}")
        if _is_localhost(parsed.host) and not self.allows_here:
            raise RefusedWebhook("Webhook host blocked: localhost address")
        if self.rules.allowed_ports and (parsed.port or DEFAULT_PORTS[parsed.scheme]) not in self.rules.allowed_ports:
            raise RefusedWebhook("Webhook port is not in webhooks.url.allowed_ports")
        domains = self.rules.allowed_domains
        if domains and not any(_is_within(parsed.host, domain) for domain in domains):
            raise RefusedWebhook("Webhook host is not in webhooks.url.allowed_domains")
        return parsed

    def _check_addresses(self, parsed: httpx2.URL, addresses: Sequence[Address]) -> Sequence[Address]:
        try:
            check_addresses(parsed.host, addresses, allow_loopback=self.allows_here)
        except RefusedAddress as problem:
            kind = "loopback IP range" if any(address.is_loopback for address in addresses) else str(problem)
            raise RefusedWebhook(f"Webhook host blocked: {kind}") from None
        is_here = all(address.is_loopback for address in addresses)
        if parsed.scheme != "https" and self.rules.require_https and not is_here:
            raise RefusedWebhook("Webhook must use https")
        return addresses


def is_local(url: str) -> bool:
    """Whether `url` is a path of this server's own application."""
    return url.startswith("/") and not url.startswith("//")


def _is_localhost(host: str) -> bool:
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def _is_within(host: str, domain: str) -> bool:
    name = host.lower().rstrip(".")
    return name.endswith(domain[1:]) if domain.startswith("*.") else name == domain
