"""Owns which configuration wins: a run's own, with its assistant's beneath it."""

from collections.abc import Mapping
from typing import Any

from threadline.runs.callers import RESERVED
from threadline.runs.model import Assistant, JsonObject


def inherit(kwargs: Mapping[str, Any], assistant: Assistant, extra: Mapping[str, Any] | None = None) -> JsonObject:
    """Return a run's kwargs with what it does not set itself from the assistant.

    `configurable` and `context` are one thing under two names, so each is copied into the other; `extra` goes into
    `configurable` only.
    """
    given = kwargs.get("config") or {}
    inherited = (assistant.config.get("configurable") or {}) | assistant.context
    own = given.get("configurable") or kwargs.get("context") or {}
    shared = {key: value for key, value in inherited.items() if not key.startswith(RESERVED)} | own
    config = {**assistant.config, **given, "configurable": {**shared, **(extra or {})}}
    return {**kwargs, "config": config, "context": shared}
