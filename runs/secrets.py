"""Owns what others may see of a run's configuration; which entries look like secrets is `checkpoints.secrets`'s."""

from collections.abc import Set
from typing import Any

from threadline.checkpoints.secrets import HIDDEN, secret_texts, without_secrets
from threadline.runs.model import JsonObject, Run


def secrets_of(run: Run) -> Set[str]:
    """The texts in the run's configuration that must be in nothing that is written about it."""
    given = (run.kwargs.get("config") or {}).get("configurable") or {}
    return secret_texts(given) | secret_texts(run.kwargs.get("context") or {})


def shown_kwargs(kwargs: JsonObject) -> JsonObject:
    """Leave the secrets out of the configuration: who may read a run need not be who started it."""
    configuration = {key: kwargs[key] for key in ("config", "context") if kwargs.get(key)}
    return {**kwargs, **without_secrets(configuration)}


def shown_value(name: str, value: Any) -> Any:
    """Return what may be told of a value that was given under `name`."""
    return without_secrets({name: value}).get(name, HIDDEN)
