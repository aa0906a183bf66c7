"""Owns what langgraph.json says about webhooks: which addresses may be called, and with which headers.

Calling them, and finding out where a name leads, is left to whoever delivers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from threadline.graphs.sections import Section, fill_in

ENV_PREFIX = "LG_WEBHOOK_"
MAX_URL_LENGTH = 65_536
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """Which addresses may be called, and what each call carries. The default is what a file without `webhooks` means.

    `allowed_domains` are hosts, or `*.` and a domain for its subdomains only; empty allows every public host.
    `allows_relative` lets a path stand for a route of the project's own application.
    """

    enabled: bool = True
    require_https: bool = True
    allowed_domains: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = ()
    max_url_length: int = MAX_URL_LENGTH
    allows_relative: bool = False
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def refusal(self, url: str) -> str | None:
        """Return why the file does not allow `url`, None when it does. Where its host leads is not looked at."""
        if len(url) > self.max_url_length:
            return f"Webhook URL is longer than {self.max_url_length} characters"
        if url.startswith("/") and not url.startswith("//"):
            return None if self.allows_relative else "Webhook must be an absolute URL"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return "Webhook is no URL"
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return "Webhook must be an https URL"
        if self.require_https and parts.scheme != "https":
            return "Webhook must use https"
        if self.allowed_ports and (port or _DEFAULT_PORTS[parts.scheme]) not in self.allowed_ports:
            return "Webhook port is not in webhooks.url.allowed_ports"
        if self.allowed_domains and not any(_is_allowed(parts.hostname, domain) for domain in self.allowed_domains):
            return "Webhook host is not in webhooks.url.allowed_domains"
        return None


def read_webhooks(section: Section | None, variables: Mapping[str, str], *, enabled: bool) -> WebhookRules:
    """Return the rules; `variables` fill in the headers. Raises ConfigurationError."""
    if section is None:
        return WebhookRules(enabled=enabled)
    prefix = section.text("env_prefix", ENV_PREFIX) or ENV_PREFIX
    headers = {
        name: fill_in(section, f"headers.{name}", template, prefix, variables)
        for name, template in section.texts("headers").items()
    }
    url = section.section("url") or Section(section.path, f"{section.key}.url", {})
    return WebhookRules(
        enabled=enabled,
        require_https=url.flag("require_https", default=True),
        allowed_domains=tuple(domain.lower() for domain in url.words("allowed_domains") or ()),
        allowed_ports=url.numbers("allowed_ports") or (),
        max_url_length=url.count("max_url_length", MAX_URL_LENGTH),
        allows_relative=not url.flag("disable_loopback", default=True),
        headers=MappingProxyType(headers),
    )


def _is_allowed(host: str, domain: str) -> bool:
    host = host.lower().rstrip(".")
    return host.endswith(domain[1:]) if domain.startswith("*.") else host == domain
