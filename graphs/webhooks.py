"""Owns what langgraph.json says about webhooks: which addresses may be called, and with which headers.

Calling them, and finding out where a name leads, is left to whoever delivers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from threadline.graphs.configuration import Configuration
from threadline.graphs.sections import Section, fill_in

ENV_PREFIX = "LG_WEBHOOK_"
MAX_URL_LENGTH = 65_536


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
    headers: Mapping[str, str] = field(default_factory=dict)


def webhook_rules(configuration: Configuration, variables: Mapping[str, str]) -> WebhookRules:
    """Return what the file says; `variables` of the process, and the file's own, fill in headers.

    Raises ConfigurationError.
    """
    sections = configuration.sections
    section = (
        None if sections.get("webhooks") is None else Section(configuration.path, "webhooks", sections["webhooks"])
    )
    http = Section(configuration.path, "http", sections.get("http") or {})
    return read_webhooks(section, {**configuration.env, **variables}, enabled=not http.flag("disable_webhooks"))


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
        headers=headers,
    )
