"""Owns the list of langgraph.json's keys: which are acted on here, which only matter when an image is built.

What a key means, and how its value is checked, is its section's business. docs/langgraph-json.md is this list.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Use(StrEnum):
    """What becomes of a key."""

    ACTED_ON = "yes"
    BUILD = "build"  # for those who build images; it changes nothing while a server runs
    NOT_HERE = "no"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the official format. `note` says what to do instead where it is not acted on."""

    use: Use
    note: str = ""
    is_free: bool = False  # what is in it is named by the project


_USED = Key(Use.ACTED_ON)
_FREE = Key(Use.ACTED_ON, is_free=True)
_BUILD = Key(Use.BUILD, is_free=True)


def _not(note: str) -> Key:
    return Key(Use.NOT_HERE, note, is_free=True)


KEYS: Mapping[str, Key] = {
    "$schema": Key(Use.ACTED_ON, "for editors"),
    "graphs": _USED,
    "graphs.*": _USED,
    "graphs.*.path": _USED,
    "graphs.*.description": _USED,
    "graphs.*.on_version_change": _USED,
    "graphs.*.migrate": _USED,
    "env": _FREE,
    "dependencies": _USED,
    "store": _USED,
    "store.index": _USED,
    "store.index.dims": _USED,
    "store.index.embed": _USED,
    "store.index.fields": _USED,
    "store.ttl": _USED,
    "store.ttl.refresh_on_read": _USED,
    "store.ttl.default_ttl": _USED,
    "store.ttl.sweep_interval_minutes": _USED,
    "checkpointer": _USED,
    "checkpointer.path": _not("checkpoints are written with the events of a run, which another saver cannot do"),
    "checkpointer.ttl": _USED,
    "checkpointer.ttl.strategy": _USED,
    "checkpointer.ttl.default_ttl": _USED,
    "checkpointer.ttl.sweep_interval_minutes": _USED,
    "checkpointer.ttl.sweep_limit": _USED,
    "checkpointer.serde": _USED,
    "checkpointer.serde.allowed_json_modules": _not("values are msgpack; name classes in allowed_msgpack_modules"),
    "checkpointer.serde.allowed_msgpack_modules": _USED,
    "checkpointer.serde.pickle_fallback": _not("pickle runs whatever is in the bytes; it is never read or written"),
    "auth": _USED,
    "auth.path": _USED,
    "auth.disable_studio_auth": _USED,
    "auth.openapi": _FREE,
    "auth.cache": _USED,
    "auth.cache.cache_keys": _USED,
    "auth.cache.ttl_seconds": _USED,
    "auth.cache.max_size": _USED,
    "encryption": _USED,
    "encryption.path": _USED,
    "priority": _not("runs start in the order in which they fall due"),
    "http": _USED,
    "http.app": _USED,
    "http.disable_assistants": _USED,
    "http.disable_threads": _USED,
    "http.disable_runs": _USED,
    "http.disable_store": _USED,
    "http.disable_mcp": _USED,
    "http.disable_a2a": _USED,
    "http.disable_meta": _USED,
    "http.disable_ui": Key(Use.ACTED_ON, "there is none to disable"),
    "http.disable_webhooks": _USED,
    "http.cors": _USED,
    "http.cors.allow_origins": _USED,
    "http.cors.allow_methods": _USED,
    "http.cors.allow_headers": _USED,
    "http.cors.allow_credentials": _USED,
    "http.cors.allow_origin_regex": _USED,
    "http.cors.expose_headers": _USED,
    "http.cors.max_age": _USED,
    "http.configurable_headers": _USED,
    "http.configurable_headers.includes": _USED,
    "http.configurable_headers.excludes": _USED,
    "http.logging_headers": _USED,
    "http.logging_headers.includes": _USED,
    "http.logging_headers.excludes": _USED,
    "http.middleware_order": _USED,
    "http.enable_custom_route_auth": _USED,
    "http.mount_prefix": _USED,
    "webhooks": _USED,
    "webhooks.env_prefix": _USED,
    "webhooks.url": _USED,
    "webhooks.url.require_https": _USED,
    "webhooks.url.allowed_domains": _USED,
    "webhooks.url.allowed_ports": _USED,
    "webhooks.url.max_url_length": _USED,
    "webhooks.url.disable_loopback": _USED,
    "webhooks.headers": _FREE,
    "ui": _not("interfaces of your own are served by `http.app`, or by another server"),
    "ui_config": _not("there are no interfaces to configure"),
    "python_version": _BUILD,
    "node_version": _BUILD,
    "api_version": _BUILD,
    "base_image": _BUILD,
    "image_distro": _BUILD,
    "pip_config_file": _BUILD,
    "pip_installer": _BUILD,
    "source": _BUILD,
    "dockerfile_lines": _BUILD,
    "keep_pkg_tools": _BUILD,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A key that is in a file in vain, and what to do about it."""

    key: str
    text: str
    is_known: bool


def find_notices(content: Mapping[str, Any]) -> Iterator[Notice]:
    """Yield what langgraph.json asks for in vain. What only the building of images reads is left to that."""
    yield from _find(content, "", "")


def _find(content: Mapping[str, Any], shown: str, pattern: str) -> Iterator[Notice]:
    for name, value in content.items():
        key = KEYS.get(pattern + name) or KEYS.get(f"{pattern}*")
        if key is None:
            yield Notice(shown + name, "is no key of langgraph.json: correct it, or remove it", is_known=False)
        elif key.use is Use.NOT_HERE:
            yield Notice(shown + name, f"is not acted on: {key.note}", is_known=True)
        elif isinstance(value, Mapping) and not key.is_free:
            deeper = f"{pattern}{name if pattern + name in KEYS else '*'}."
            yield from _find(value, f"{shown}{name}.", deeper)
