"""Owns which entries of a configuration look like secrets; leaving them out is up to whoever writes one down.

LangGraph copies the scalars of `configurable` into checkpoint metadata, and the tracer into every span.
"""

import re
from collections.abc import Mapping, Set
from enum import Enum, auto
from functools import lru_cache
from typing import Any

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_SECRET = frozenset(
    {
        *(
            "auth",
            "authorization",
            "authentication",
            "bearer",
            "certificate",
            "cookie",
            "cookies",
            "csrf",
            "dsn",
            "jwt",
        ),
        *("credential", "credentials", "passcode", "passphrase", "passwords", "pwd", "secrets", "signature"),
    }
)
_SECRET_ENDS = ("apikey", "authkey", "privatekey", "authtoken", "accesstoken", "secret", "password", "passwd")
# Of these there are counts, too: `max_tokens`, `input_token_details`.
_COUNTED = frozenset({"key", "keys", "token"})
# What LangGraph Server itself puts there about the caller: names and rights, no proof of them.
_KNOWN = ("langgraph_",)
_SECRET_VALUE = re.compile(r"(?:bearer|basic)\s+\S|\w+://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
SHORTEST = 4  # a shorter text is found in anything
_HEAD = 8
LONGEST = 200  # characters of a name that are looked at, and remembered
HIDDEN = "***"


class _Kind(Enum):
    PLAIN = auto()
    COUNTED = auto()
    SECRET = auto()


_PLAIN = _Kind.PLAIN


def is_secret(key: object, value: object) -> bool:
    """Tell whether an entry must not be written where others read it: by its name, or by the form of its value."""
    if isinstance(value, str) and _SECRET_VALUE.match(value):
        return True
    kind = _kind(key[:LONGEST]) if isinstance(key, str) else _PLAIN
    if kind is _PLAIN or value is None or isinstance(value, bool):
        return False
    return kind is _Kind.SECRET or _has_text(value)


def without_secrets(entries: Mapping[str, Any], *, deep: bool = True) -> dict[str, Any]:
    """Return a copy without the entries that look like secrets; `deep` looks into mappings and lists, too."""
    return {
        key: _cleaned(value) if deep and isinstance(value, Mapping | list | tuple) else value
        for key, value in entries.items()
        if not is_secret(key, value)
    }


@lru_cache(maxsize=4096)
def _kind(key: str) -> _Kind:
    if key.startswith(_KNOWN):
        return _Kind.PLAIN
    words = {word.lower() for word in _WORDS.findall(key)}
    if not words.isdisjoint(_SECRET) or any(word.endswith(_SECRET_ENDS) for word in words):
        return _Kind.SECRET
    return _Kind.PLAIN if words.isdisjoint(_COUNTED) else _Kind.COUNTED


def secret_texts(entries: Mapping[str, Any]) -> set[str]:
    """Return the texts that look like secrets, at any depth, to be kept out of error texts."""
    found: set[str] = set()
    for key, value in entries.items():
        if is_secret(key, value):
            found.update(text for text in _texts(value) if len(text) >= SHORTEST)
        elif isinstance(value, Mapping):
            found |= secret_texts(value)
    return found


def hide(text: str, secrets: Set[str]) -> str:
    """Return `text` without `secrets`, also where an abbreviated one shows its beginning or its end."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
        if len(secret) >= 2 * _HEAD:
            head, tail = re.escape(secret[:_HEAD]), re.escape(secret[-_HEAD:])
            text = re.sub(rf"{head}[^\s'\"]*|[^\s'\"]*{tail}", HIDDEN, text)
    return text


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    return [_cleaned(item) for item in value] if isinstance(value, list | tuple) else value


def _has_text(value: object) -> bool:
    """Whether there is more than numbers in it."""
    if isinstance(value, Mapping):
        return any(map(_has_text, value.values()))
    if isinstance(value, list | tuple | set):
        return any(map(_has_text, value))
    return not isinstance(value, int | float | None)


def _texts(value: object) -> set[str]:
    if isinstance(value, Mapping):
        return set().union(*map(_texts, value.values()))
    if isinstance(value, list | tuple | set):
        return set().union(*map(_texts, value))
    return {str(value)}
